//! The Workload API, by the client and by the source of the crate.

use std::error::Error;

use serde_json::{Value, json};
use spiffe::transport::TransportError;
use spiffe::{Certificate, JwtBundleSet, JwtSvid, WorkloadApiClient, WorkloadApiError, X509BundleSet, X509Context, X509Source};

use crate::{Outcome, print};

pub async fn x509() -> Outcome {
    let client = WorkloadApiClient::connect_env().await?;
    print(&x509_line(&client.fetch_x509_context().await?));
    Ok(())
}

pub async fn bundles() -> Outcome {
    let client = WorkloadApiClient::connect_env().await?;
    print(&json!({ "bundles": x509_bundles(&client.fetch_x509_bundles().await?) }));
    Ok(())
}

pub async fn jwt_bundles() -> Outcome {
    let client = WorkloadApiClient::connect_env().await?;
    print(&json!({ "bundles": key_ids(&client.fetch_jwt_bundles().await?) }));
    Ok(())
}

/// Prints what the source has now and after each update. The source finds its agent again by itself.
pub async fn watch() -> Outcome {
    let source = X509Source::new().await?;
    let mut updates = source.updated();
    loop {
        print(&x509_line(&*source.x509_context()?));
        updates.changed().await?;
    }
}

/// Fetches and verifies here, with the bundles that the agent has.
pub async fn jwt(audience: &str) -> Outcome {
    let client = WorkloadApiClient::connect_env().await?;
    let bundles = client.fetch_jwt_bundles().await?;
    let mut lines = Vec::new();
    for svid in client.fetch_all_jwt_svids([audience], None).await? {
        let verified = JwtSvid::parse_and_validate(svid.token(), &bundles, &[audience])?;
        lines.push(jwt_line(&verified, svid.hint()));
    }
    print(&json!({ "svids": lines }));
    Ok(())
}

/// Has the agent validate.
pub async fn validate(audience: &str, token: &str) -> Outcome {
    let client = WorkloadApiClient::connect_env().await?;
    let svid = client.validate_jwt_token(audience, token).await?;
    print(&json!({ "svids": [jwt_line(&svid, None)] }));
    Ok(())
}

/// The gRPC status that the agent refused with; empty when it was something else that failed.
pub fn code_of(error: &(dyn Error + 'static)) -> &'static str {
    match error.downcast_ref::<WorkloadApiError>() {
        Some(WorkloadApiError::NoIdentityIssued | WorkloadApiError::PermissionDenied(_)) => "permission_denied",
        Some(WorkloadApiError::Transport(TransportError::Status(status))) => status.code().as_str(),
        _ => "",
    }
}

fn x509_line(context: &X509Context) -> Value {
    let svids = context.svids().iter().map(|svid| {
        json!({
            "id": svid.spiffe_id().to_string(),
            "hint": svid.hint().unwrap_or_default(),
            "chain": hex_of(svid.cert_chain()),
        })
    });
    json!({ "svids": svids.collect::<Vec<_>>(), "bundles": x509_bundles(context.bundle_set()) })
}

fn jwt_line(svid: &JwtSvid, hint: Option<&str>) -> Value {
    json!({
        "id": svid.spiffe_id().to_string(),
        "hint": hint.unwrap_or_default(),
        "audience": svid.audience(),
        "token": svid.token(),
    })
}

/// Certificates by trust domain.
fn x509_bundles(set: &X509BundleSet) -> Value {
    set.iter().map(|(name, bundle)| (name.to_string(), hex_of(bundle.authorities()))).collect()
}

/// Key IDs by trust domain.
fn key_ids(set: &JwtBundleSet) -> Value {
    set.iter()
        .map(|(name, bundle)| (name.to_string(), bundle.jwt_authorities().map(|key| key.key_id()).collect::<Value>()))
        .collect()
}

fn hex_of(certificates: &[Certificate]) -> Value {
    certificates
        .iter()
        .map(|certificate| certificate.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        .collect()
}
