//! What a service built on the crates `spiffe` and `spiffe-rustls` does. Every line that it prints is one JSON object.
//!
//! ```text
//! workload x509 | bundles | jwtbundles | watch
//! workload jwt AUDIENCE
//! workload validate AUDIENCE TOKEN
//! workload serve PEER_ID
//! workload dial PEER_ID ADDRESS
//! ```
//!
//! The agent's address is in `SPIFFE_ENDPOINT_SOCKET`. It exits with 1 after `{"error", "code"}` when the agent or the
//! peer refuses.

mod api;
mod tls;

use std::error::Error;
use std::process::ExitCode;

use serde_json::{Value, json};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print(&json!({ "error": error.to_string(), "code": api::code_of(&*error) }));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &[&str]) -> Outcome {
    match *args {
        ["x509"] => api::x509().await,
        ["bundles"] => api::bundles().await,
        ["jwtbundles"] => api::jwt_bundles().await,
        ["watch"] => api::watch().await,
        ["jwt", audience] => api::jwt(audience).await,
        ["validate", audience, token] => api::validate(audience, token).await,
        ["serve", peer] => tls::serve(peer).await,
        ["dial", peer, address] => tls::dial(peer, address).await,
        _ => Err("use x509, bundles, jwtbundles, watch, jwt, validate, serve or dial".into()),
    }
}

fn print(line: &Value) {
    println!("{line}");
}
