//! docs/scenarios/08-protocols.md

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sluice_e2e::{
    app::SETUP_DEADLINE,
    scenario,
    tls::TlsClient,
    wait::{until, when},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpStream, UdpSocket},
};

use super::{EXCHANGE, answers, answers_in_tls, authority};

const NAMESPACE: &str = "protocols";
/// A message of gRPC without fields, such as `Request` of greeter.proto.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

#[tokio::test]
async fn each_kind_of_route_carries_its_protocol() -> Result<()> {
    scenario::run("08-protocols", async |scenario| {
        let ip = scenario.address(NAMESPACE, "all").await?;
        let at = |port| SocketAddr::new(ip, port);
        answers(at(80), "http.example.com/", &[], (200, "web")).await?;

        echoed("a gRPC answer", "0 web", async || call(at(80), "/greeter.Greeter/Greet").await).await?;
        echoed("a gRPC refusal", "12 ", async || call(at(80), "/greeter.Greeter/Leave").await).await?;

        let trusted = authority(scenario, NAMESPACE, "terminated-tls").await?;
        let client = TlsClient::new("terminated.example.com", &trusted)?;
        echoed("a line in TLS", "lines", async || line(client.connect(at(8443)).await?).await).await?;
        let trusted = authority(scenario, NAMESPACE, "secure-tls").await?;
        let client = TlsClient::new("passthrough.example.com", &trusted)?;
        answers_in_tls(at(8443), &client, "passthrough.example.com/", (200, "secure")).await?;

        echoed("a line", "lines", async || line(TcpStream::connect(at(9000)).await?).await).await?;
        echoed("a datagram", "datagrams", async || datagram(at(9000)).await).await?;

        let kinds = scenario.command("get -n protocols httproutes,").await?;
        for kind in ["httproute", "grpcroute", "tlsroute", "tcproute", "udproute"] {
            ensure!(kinds.contains(&format!("{kind}.gateway.networking.k8s.io/")), "no {kind} in {kinds}");
        }
        scenario.shows("gateway all", "http=2 tls-terminated=1 tls-passthrough=1 tcp=1 udp=1").await
    })
    .await
}

/// Waits until an exchange brings what is wanted.
async fn echoed(what: &str, wanted: &str, exchange: impl AsyncFn() -> Result<String>) -> Result<()> {
    until(what, SETUP_DEADLINE, async || {
        let answer = tokio::time::timeout(EXCHANGE, exchange()).await?;
        Ok(when(answer.as_ref().is_ok_and(|answer| answer == wanted), || format!("{answer:?}")))
    })
    .await
}

/// `grpc-status` and the version in the answer to a call.
async fn call(address: SocketAddr, method: &str) -> Result<String> {
    let stream = TcpStream::connect(address).await?;
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::post(format!("http://grpc.example.com{method}")).header("content-type", "application/grpc");
    let request = request.header("te", "trailers").body(Full::new(Bytes::from_static(EMPTY_MESSAGE)))?;
    let (head, body) = client.send_request(request).await?.into_parts();
    let body = body.collect().await?;
    driver.abort();
    let trailers = body.trailers().unwrap_or(&head.headers);
    let status = trailers.get("grpc-status").context("no grpc-status")?.to_str()?.to_owned();
    Ok(format!("{status} {}", version(&body.to_bytes())))
}

/// The first field of the `Reply` in a message of gRPC.
fn version(message: &[u8]) -> String {
    let field = message.get(EMPTY_MESSAGE.len()..).unwrap_or_default();
    let text = field.get(1).and_then(|length| field.get(2..2 + usize::from(*length))).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Who answers a line.
async fn line(stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<String> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"hello\n").await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    who(&answer)
}

/// Who answers a datagram.
async fn datagram(address: SocketAddr) -> Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(address).await?;
    socket.send(b"hello").await?;
    let mut bytes = [0; 256];
    let length = tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut bytes)).await??;
    who(std::str::from_utf8(&bytes[..length])?)
}

/// The first word of what the sample app says again, if it has heard us well.
fn who(answer: &str) -> Result<String> {
    let words: Vec<_> = answer.split_whitespace().collect();
    ensure!(words.len() == 3 && words[2] == "hello", "{answer:?}");
    Ok(words[0].to_owned())
}
