//! The kinds of routes beside HTTPRoutes: attached, reported and served.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::ListParams};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::{Value, json};
use sluice_e2e::{
    app::SETUP_DEADLINE,
    cluster::Cluster,
    gateway, manifest, suite,
    wait::{until, when},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
const HOST: &str = "grpc.example.com";

#[tokio::test]
async fn a_grpc_route_is_attached_and_its_clients_are_told_what_is_wrong_in_their_words() -> Result<()> {
    suite::run("grpc", async |cluster, namespace| {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "nobody", "namespace": namespace},
            "spec": {"ports": [{"port": 80}]}});
        let gateway = json!({"apiVersion": GATEWAY_API, "kind": "Gateway", "metadata": {"name": "web", "namespace": namespace},
            "spec": {"gatewayClassName": "sluice", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}});
        let route = json!({"apiVersion": GATEWAY_API, "kind": "GRPCRoute", "metadata": {"name": "echo", "namespace": namespace},
            "spec": {"parentRefs": [{"name": "web"}], "hostnames": [HOST], "rules": [{
                "matches": [{"method": {"service": "a.Echo"}}], "backendRefs": [{"name": "nobody", "port": 80}]}]}});
        manifest::apply(&cluster.client, &[service, gateway, route]).await?;
        gateway::accepted(&cluster.gateway_api(&namespace, "GRPCRoute", "grpcroutes"), "echo").await?;
        let address = SocketAddr::new(gateway::address(&cluster, &namespace, "web").await?, 80);
        for (path, code) in [("/a.Echo/Say", "14"), ("/b.Other/Say", "12")] {
            until(&format!("grpc-status {code} for {path}"), SETUP_DEADLINE, async || {
                let status = grpc_status(address, path).await;
                Ok(when(status.as_ref().is_ok_and(|status| status == code), || format!("{status:?}")))
            })
            .await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_tcp_route_passes_connections_on() -> Result<()> {
    connections_are_passed_on("TCP", b"hello").await
}

#[tokio::test]
async fn a_tls_route_passes_tls_on_as_it_is() -> Result<()> {
    connections_are_passed_on("TLS", &client_hello(HOST)?).await
}

/// What a client says comes back from a backend that repeats it.
async fn connections_are_passed_on(protocol: &str, said: &[u8]) -> Result<()> {
    suite::run("l4", async |cluster, namespace| {
        let backend = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let port = backend.local_addr()?.port();
        let echoing = tokio::spawn(async move {
            while let Ok((mut stream, _)) = backend.accept().await {
                let (mut from, mut to) = stream.split();
                // How it ends is seen from the other side.
                let _ = tokio::io::copy(&mut from, &mut to).await;
            }
        });
        manifest::apply(&cluster.client, &l4_objects(&cluster, &namespace, protocol, port).await?).await?;
        let (kind, plural) = (format!("{protocol}Route"), format!("{}routes", protocol.to_lowercase()));
        gateway::accepted(&cluster.gateway_api(&namespace, &kind, &plural), "echo").await?;
        let address = SocketAddr::new(gateway::address(&cluster, &namespace, "web").await?, 9000);
        until("an echo", SETUP_DEADLINE, async || {
            let echo = tcp_echo(address, said).await;
            Ok(when(echo.as_ref().is_ok_and(|echo| echo == said), || format!("{echo:?}")))
        })
        .await?;
        echoing.abort();
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_udp_route_passes_datagrams_on() -> Result<()> {
    suite::run("l4", async |cluster, namespace| {
        // Bound to the address that it is reached at: a socket of every address answers from the one nearest to the pod.
        let node: IpAddr = node_address(&cluster).await?.parse()?;
        let backend = UdpSocket::bind((node, 0)).await?;
        let port = backend.local_addr()?.port();
        let echoing = tokio::spawn(async move {
            let mut bytes = [0; 2048];
            while let Ok((length, client)) = backend.recv_from(&mut bytes).await {
                // How it arrives is seen from the other side.
                let _ = backend.send_to(&bytes[..length], client).await;
            }
        });
        manifest::apply(&cluster.client, &l4_objects(&cluster, &namespace, "UDP", port).await?).await?;
        gateway::accepted(&cluster.gateway_api(&namespace, "UDPRoute", "udproutes"), "echo").await?;
        let address = SocketAddr::new(gateway::address(&cluster, &namespace, "web").await?, 9000);
        until("an echo", SETUP_DEADLINE, async || {
            let echo = udp_echo(address).await;
            Ok(when(echo.as_ref().is_ok_and(|echo| echo == b"hello"), || format!("{echo:?}")))
        })
        .await?;
        echoing.abort();
        Ok(())
    })
    .await
}

async fn udp_echo(address: SocketAddr) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(address).await?;
    socket.send(b"hello").await?;
    let mut bytes = [0; 16];
    let length = tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut bytes)).await??;
    Ok(bytes[..length].to_vec())
}

/// A Gateway with one listener, and a route to a port of this host.
async fn l4_objects(cluster: &Cluster, namespace: &str, protocol: &str, port: u16) -> Result<Vec<Value>> {
    let meta = |name: &str| json!({"name": name, "namespace": namespace});
    let transport = if protocol == "UDP" { "UDP" } else { "TCP" };
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("echo"),
        "spec": {"ports": [{"port": 9000, "protocol": transport}]}});
    let mut slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta("echo"),
        "addressType": "IPv4", "ports": [{"name": "", "port": port, "protocol": transport}],
        "endpoints": [{"addresses": [node_address(cluster).await?], "conditions": {"ready": true}}]});
    slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": "echo"});
    let mut listener = json!({"name": "l4", "port": 9000, "protocol": protocol});
    let mut route = json!({"apiVersion": GATEWAY_API, "kind": format!("{protocol}Route"), "metadata": meta("echo"),
        "spec": {"parentRefs": [{"name": "web"}], "rules": [{"backendRefs": [{"name": "echo", "port": 9000}]}]}});
    if protocol == "TLS" {
        listener["tls"] = json!({"mode": "Passthrough"});
        route["spec"]["hostnames"] = json!([HOST]);
    }
    let gateway = json!({"apiVersion": GATEWAY_API, "kind": "Gateway", "metadata": meta("web"),
        "spec": {"gatewayClassName": "sluice", "listeners": [listener]}});
    Ok(vec![service, slice, gateway, route])
}

/// Where pods reach what listens on this host.
async fn node_address(cluster: &Cluster) -> Result<String> {
    let nodes = Api::<Node>::all(cluster.client.clone()).list(&ListParams::default()).await?;
    let addresses = nodes.items.into_iter().filter_map(|node| node.status?.addresses).flatten();
    let mut internal = addresses.filter(|address| address.type_ == "InternalIP");
    Ok(internal.next().context("no node has an address")?.address)
}

/// How a client begins TLS with a server.
fn client_hello(server_name: &'static str) -> Result<Vec<u8>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_root_certificates(RootCertStore::empty());
    let mut client = ClientConnection::new(Arc::new(builder.with_no_client_auth()), server_name.try_into()?)?;
    let mut hello = Vec::new();
    client.write_tls(&mut hello)?;
    Ok(hello)
}

async fn tcp_echo(address: SocketAddr, said: &[u8]) -> Result<Vec<u8>> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(said).await?;
        stream.shutdown().await?;
        let mut echo = Vec::new();
        stream.read_to_end(&mut echo).await?;
        anyhow::Ok(echo)
    };
    tokio::time::timeout(Duration::from_secs(5), exchange).await?
}

/// What a call that the proxy answers itself is answered with.
async fn grpc_status(address: SocketAddr, path: &str) -> Result<String> {
    let call = async {
        let stream = TcpStream::connect(address).await?;
        let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let request = Request::post(format!("http://{HOST}{path}")).header("content-type", "application/grpc");
        let response = client.send_request(request.body(Empty::<Bytes>::new())?).await;
        driver.abort();
        let status = response?.headers().get("grpc-status").context("no grpc-status")?.to_str()?.to_owned();
        anyhow::Ok(status)
    };
    tokio::time::timeout(Duration::from_secs(5), call).await?
}
