//! Mutual TLS by a source that follows the agent; the peer is authorised by its SPIFFE ID.

use std::sync::Arc;

use serde_json::json;
use spiffe::X509Source;
use spiffe::cert::spiffe_id_from_der;
use spiffe_rustls::{authorizer, mtls_client, mtls_server};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::CommonState;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{Outcome, print};

/// Answers each line with the caller's SPIFFE ID and the line, one connection after another.
pub async fn serve(peer: &str) -> Outcome {
    let source = X509Source::new().await?;
    let config = mtls_server(source.clone()).authorize(authorizer::exact([peer])?).build()?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let id = source.svid()?.spiffe_id().to_string();
    print(&json!({ "listening": listener.local_addr()?.to_string(), "id": id }));
    loop {
        let (connection, _) = listener.accept().await?;
        let answered = match acceptor.accept(connection).await {
            Ok(stream) => answer(stream).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = answered {
            print(&json!({ "refused": error.to_string() }));
        }
    }
}

async fn answer(stream: TlsStream<TcpStream>) -> Outcome {
    let peer = peer_id(stream.get_ref().1)?;
    print(&json!({ "peer": peer }));
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        stream.write_all(format!("{peer} {line}").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

/// Sends one line and prints who answered what.
pub async fn dial(peer: &str, address: &str) -> Outcome {
    let source = X509Source::new().await?;
    let config = mtls_client(source).authorize(authorizer::exact([peer])?).build()?;
    let connection = TcpStream::connect(address).await?;
    // Not looked at: the SPIFFE ID says who the server is.
    let name = ServerName::try_from("localhost")?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, connection).await?;
    stream.write_all(b"hello\n").await?;
    let peer = peer_id(stream.get_ref().1)?;
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).await?;
    print(&json!({ "peer": peer, "reply": reply.trim_end() }));
    Ok(())
}

fn peer_id(connection: &CommonState) -> Outcome<String> {
    let chain = connection.peer_certificates().ok_or("the peer has shown no certificate")?;
    Ok(spiffe_id_from_der(&chain[0])?.to_string())
}
