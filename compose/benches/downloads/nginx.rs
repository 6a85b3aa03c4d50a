//! nginx, serving a directory over HTTPS as it does where people set it up with care.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use quics_stack::harness::{Daemon, wait};

pub(crate) struct Nginx {
    port: u16,
    _daemon: Daemon,
}

impl Nginx {
    /// Starts it on a free port; `None` where it is not installed.
    pub(crate) fn start(directory: &Path, files: &Path, chain: &Path, key: &Path) -> Result<Option<Self>> {
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists());
        let Some(program) = program else { return Ok(None) };
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let place = directory.display();
        let (files, chain, key) = (files.display(), chain.display(), key.display());
        let config = format!(
            "daemon off; worker_processes auto; pid {place}/pid; error_log {place}/error.log; user root;
             events {{ worker_connections 1024; }}
             http {{
               access_log off; sendfile on; tcp_nopush on; keepalive_timeout 65; default_type application/octet-stream;
               client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
               uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
               server {{
                 listen 127.0.0.1:{port} ssl http2; root {files};
                 ssl_certificate {chain}; ssl_certificate_key {key};
                 ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
               }}
             }}"
        );
        let path = directory.join("nginx.conf");
        fs::write(&path, config)?;
        let mut command = Command::new(program);
        command.arg("-e").arg(directory.join("error.log")).arg("-p").arg(directory).arg("-c").arg(&path);
        let daemon = Daemon::start(command, &directory.join("log"))?;
        wait::until("nginx to listen", Duration::from_secs(30), || std::net::TcpStream::connect(("127.0.0.1", port)))?;
        Ok(Some(Self { port, _daemon: daemon }))
    }

    pub(crate) fn address(&self, file: &str) -> String {
        format!("https://127.0.0.1:{}/{file}", self.port)
    }
}
