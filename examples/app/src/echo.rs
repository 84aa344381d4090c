//! What is said over TCP or UDP is said again, with version and pod before it.

use std::{io, rc::Rc};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UdpSocket},
    sync::watch,
};

use crate::{Stage, config::Config};

/// Longest datagram that is answered whole.
const MAX_DATAGRAM: usize = 2048;

/// Answers each line of a connection until its client ends it, or the app.
pub(crate) async fn lines(config: Rc<Config>, mut stage: watch::Receiver<Stage>, mut stream: TcpStream) {
    let (from, mut to) = stream.split();
    let mut lines = BufReader::new(from).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => {
                // The client left, in good order or not: its own business.
                let Ok(Some(line)) = line else { return };
                if to.write_all(answer(&config, &line).as_bytes()).await.is_err() {
                    return;
                }
            }
            changed = stage.changed() => {
                if changed.is_err() || *stage.borrow() == Stage::Closing {
                    return;
                }
            }
        }
    }
}

/// Answers each datagram until the app is to stop.
pub(crate) async fn datagrams(config: &Config, mut stop: impl Future<Output = ()> + Unpin) -> io::Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", config.port)).await?;
    println!("version {} answers datagrams on {}", config.version, socket.local_addr()?);
    let mut bytes = [0; MAX_DATAGRAM];
    loop {
        let answered = tokio::select! {
            () = &mut stop => return Ok(()),
            received = socket.recv_from(&mut bytes) => match received {
                Ok((length, client)) => {
                    let said = String::from_utf8_lossy(&bytes[..length]);
                    socket.send_to(answer(config, said.trim_end()).as_bytes(), client).await
                }
                Err(error) => Err(error),
            },
        };
        // Of one client: the next one may be answered.
        if let Err(error) = answered {
            eprintln!("datagram: {error}");
        }
    }
}

fn answer(config: &Config, said: &str) -> String {
    format!("{} {} {said}\n", config.version, config.pod)
}
