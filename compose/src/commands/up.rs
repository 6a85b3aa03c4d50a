//! `quics-stack up`.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result};
use console::style;
use quics_kit::names::Service;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::admin;
use crate::{
    data::{Data, Record, ServiceRecord},
    ports::{Ports, SERVICES},
    supervisor::{Log, News, ServicePlan, Supervisor},
};

/// How `up` was asked to start.
#[derive(Debug)]
pub(crate) struct UpOptions {
    /// Ports count from here; 0 takes free ones.
    pub(crate) port_base: u16,
    /// By which names devices reach this machine; empty: as it calls itself.
    pub(crate) hosts: Vec<String>,
    /// Where the services listen.
    pub(crate) listen: IpAddr,
    /// Logs go to standard error instead of files.
    pub(crate) log_stderr: bool,
    /// How links are made and served.
    pub(crate) links: share_svc::Links,
}

/// Starts the services and keeps them running until SIGINT or SIGTERM.
///
/// # Errors
/// When the data directory is held or a port is in use, when a service does not start, or does not stay up.
pub(crate) async fn up(data: &Data, options: UpOptions) -> Result<()> {
    let held = data.hold()?;
    let before = data.record().ok().flatten().map(|record| record.port_base);
    let ports = Ports::choose(options.port_base, before)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let (send, mut news) = mpsc::unbounded_channel();
    let plans = plans(data, ports, &options)?;
    let mut record = Record { pid: std::process::id(), port_base: ports.base, services: Vec::new() };
    let mut supervisor = tokio::select! {
        started = Supervisor::start(plans, send) => started?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    while let Ok(told) = news.try_recv() {
        apply(&mut record, &told);
    }
    data.write_record(&record)?;
    greet(data, &record, ports, &options).await;

    let ended = loop {
        tokio::select! {
            failed = supervisor.failed() => break failed,
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
            Some(told) = news.recv() => {
                tell(&told);
                apply(&mut record, &told);
                data.write_record(&record)?;
            }
        }
    };
    supervisor.stop().await;
    drop(held);
    ended
}

fn plans(data: &Data, ports: Ports, options: &UpOptions) -> Result<Vec<ServicePlan>> {
    let program = std::env::current_exe().context("find this program's own file")?;
    let nearest = match options.listen {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let plan = |service: Service| {
        let mut arguments: Vec<OsString> = ["internal", "service", service.as_str()].map(OsString::from).to_vec();
        let mut option = |name: &str, value: OsString| arguments.extend([OsString::from(name), value]);
        option("--data", data.service(service).into_os_string());
        option("--listen", options.listen.to_string().into());
        option("--port-base", ports.base.to_string().into());
        match service {
            Service::Registry => options.hosts.iter().for_each(|host| option("--advertise", host.into())),
            _ => {
                option("--join", data.service(Service::Registry).join("service.ticket").into_os_string());
                // The ticket names the addresses for devices; from here it may be reached by none of them.
                option("--registry", SocketAddr::new(nearest, ports.serving(Service::Registry)).to_string().into());
            }
        }
        if service == Service::Share {
            arguments.extend(options.links.arguments());
        }
        let log = if options.log_stderr { Log::Inherited } else { Log::File(data.log(service)) };
        ServicePlan { service, program: program.clone(), arguments, data: data.service(service), log }
    };
    Ok(SERVICES.map(plan).to_vec())
}

/// Enters news into the record.
fn apply(record: &mut Record, news: &News) {
    if let News::Ready { service, ready, restarts } = news {
        let now = ServiceRecord {
            name: service.to_string(),
            pid: ready.pid,
            restarts: *restarts,
            address: ready.address.to_string(),
            ops: ready.ops.to_string(),
        };
        match record.services.iter_mut().find(|known| known.name == now.name) {
            Some(known) => *known = now,
            None => record.services.push(now),
        }
    }
}

fn tell(news: &News) {
    match news {
        News::Ready { service, ready, .. } => println!("{service} runs again (process {})", ready.pid),
        News::Ended { service, how, pause } if *pause < Duration::from_secs(1) => eprintln!("{service}: {how}"),
        News::Ended { service, how, pause } => {
            eprintln!("{service}: {how}; it is started again in {} s", pause.as_secs());
        }
    }
}

/// Prints where the services are and how the first device joins.
async fn greet(data: &Data, record: &Record, ports: Ports, options: &UpOptions) {
    for service in &record.services {
        let name = style(format!("{:<9}", service.name)).bold();
        println!("{name} {}   (UDP, and TCP where UDP is blocked); operations {}", service.address, service.ops);
    }
    let links = &options.links;
    let bound = links.address(options.listen, ports.public());
    let how = match (links.secure(), links.only_here(bound)) {
        (false, _) => format!("   (plain HTTP at {bound}, for a proxy here; --certificate and --key make it HTTPS)"),
        (true, true) => "   (say with --public-url how it is reached from outside)".to_owned(),
        (true, false) => String::new(),
    };
    println!("{} {}{how}", style("links    ").bold(), links.url(bound));
    println!("data      {}", data.root().display());
    match admin::issue_ticket(data, None).await {
        Ok(ticket) => println!(
            "\nTo join a device within ten minutes, paste this there (`quics-stack ticket` makes another one):\n\n    {}\n",
            style(format!("quics join {ticket}")).cyan()
        ),
        // Where there are several users, whose device it will be has to be said.
        Err(error) => println!("\nTo join a device: quics-stack ticket --user NAME ({error:#})\n"),
    }
    println!("Ctrl-C stops the server.");
}
