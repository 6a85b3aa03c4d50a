//! Coming to rest: faults have stopped, everybody is connected, and the questions that are left are answered.

use quics_client::engine::Event;

use crate::side::Side;
use crate::world::{World, say};

impl<S: Side> World<S> {
    /// Lets one device come to rest. Returns whether it did anything.
    fn quiet(&mut self, device: usize) -> bool {
        let before = (self.server.len(), self.devices[device].folder.tree().applied);
        self.devices[device].away = false;
        self.connect(device);
        self.devices[device].folder.tree().touched.clear();
        self.devices[device].engine.handle(Event::Overflow);
        let mut idle = 0;
        for round in 0.. {
            assert!(round < 3000, "D{} does not come to rest: {:?}", device + 1, self.devices[device].engine.status());
            let at = (self.server.len(), self.devices[device].folder.tree().applied);
            self.step(device);
            let mut moved = false;
            while !self.devices[device].out.is_empty() {
                self.carry(device);
                moved = true;
            }
            self.devices[device].store.sync().expect("the store syncs");
            if self.devices[device].subscribed.is_some() {
                self.tell(device);
            }
            while !self.devices[device].back.is_empty() {
                self.deliver(device);
            }
            while !self.devices[device].news.is_empty() {
                self.deliver_news(device);
            }
            self.devices[device].folder.tree().clock += 60_000_000;
            let now = (self.server.len(), self.devices[device].folder.tree().applied);
            idle = if now == at && !moved { idle + 1 } else { 0 };
            if idle > 12 && self.devices[device].engine.status().in_sync {
                break;
            }
            // A problem that is tried again from time to time is at rest, too.
            if idle > 300 {
                let status = self.devices[device].engine.status();
                say!(self, "D{} rests: {status:?}", device + 1);
                break;
            }
        }
        before != (self.server.len(), self.devices[device].folder.tree().applied)
    }

    /// Lets everybody come to rest, and answers until nothing is open.
    pub(crate) fn settle(&mut self) {
        self.late.clear();
        for _ in 0..200 {
            let mut did = false;
            for device in 0..self.devices.len() {
                did |= self.quiet(device);
            }
            if did {
                continue;
            }
            self.check_questions();
            if self.server.open().is_empty() {
                return;
            }
            for _ in 0..100 {
                self.answer_one();
            }
        }
        panic!("no rest");
    }
}
