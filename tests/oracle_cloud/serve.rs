//! Answers a request: determines the operation and the fault to inject, authenticates the caller, and calls the
//! service.

use std::sync::Arc;

use rsa::PublicKey;
use rsa::pkcs8::DecodePublicKey as _;

use super::authorization::{Credentials, Flaw, fingerprint, fresh, verify};
use super::faults::Fault;
use super::http::{Answer, Manner, Request, Wire, read, write};
use super::refusal::Refusal;
use super::route::{Operation, Service, route};
use super::shared::{Seen, Shared};
use super::{artifacts, control, kms};

/// The socket that accepted a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    Api,
    Control,
    Metadata,
}

/// Serves one connection until it ends.
pub async fn converse(mut wire: impl Wire, socket: Socket, shared: Arc<Shared>) {
    let mut buffer = Vec::new();
    loop {
        let request = match read(&mut wire, &mut buffer).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(error) => {
                let answer = Refusal::invalid(&error.to_string()).into_answer();
                drop(write(&mut wire, &answer, Manner::Whole).await);
                return;
            }
        };
        let leaves = request.header("connection") == Some("close");
        let (answer, manner) = answer(&shared, socket, request).await;
        match write(&mut wire, &answer, manner).await {
            Ok(true) if !leaves => {}
            // Many tests have clients that disconnect early.
            Ok(_) | Err(_) => return,
        }
    }
}

async fn answer(shared: &Shared, socket: Socket, request: Request) -> (Answer, Manner) {
    if socket == Socket::Control {
        let answer = control::answer(shared, &request).unwrap_or_else(Refusal::into_answer);
        return (answer, Manner::Whole);
    }
    let host = request.header("host").unwrap_or_default().to_owned();
    let service = Service::from_host(&host, &shared.region);
    let found = match socket {
        Socket::Metadata => Some((Operation::Metadata, Vec::new())),
        Socket::Api | Socket::Control => service.as_ref().and_then(|service| route(&request, service)),
    };
    let fault = found
        .as_ref()
        .and_then(|(operation, _)| shared.faults.take(*operation));
    if let Some(fault) = &fault {
        tokio::time::sleep(fault.delay()).await;
    }
    let mut seen = Seen::new(&request, found.as_ref().map(|(operation, _)| *operation));
    let outcome = match (&found, fault.as_ref().and_then(Fault::instead)) {
        (_, Some(answer)) => Ok(answer),
        (None, None) => Err(Refusal::not_found()),
        (Some((operation, ids)), None) => {
            let service = service.unwrap_or(Service::Any);
            serve(
                shared,
                &request,
                &service,
                *operation,
                ids,
                fault.as_ref(),
                &mut seen,
            )
        }
    };
    let mut answer = outcome.unwrap_or_else(Refusal::into_answer);
    if let Some(fault) = fault.as_ref().filter(|_| answer.status == 200) {
        fault.spoil(&mut answer);
    }
    let manner = fault.as_ref().map_or(Manner::Whole, Fault::manner);
    let asked = request.header("opc-request-id").unwrap_or("stand-in");
    let id = format!("{asked}/{:032X}", rand::random::<u128>());
    seen.status = answer.status;
    shared.note(seen);
    // From it, a client can tell a wrong clock from a wrong key.
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&shared.clock.now());
    let answer = answer.with("date", &date.expect("a date"));
    (answer.with("opc-request-id", &id), manner)
}

fn serve(
    shared: &Shared,
    request: &Request,
    service: &Service,
    operation: Operation,
    ids: &[String],
    fault: Option<&Fault>,
    seen: &mut Seen,
) -> Result<Answer, Refusal> {
    let mut refuse = |flaw: Flaw| {
        seen.flaw = Some(flaw);
        Refusal::not_authenticated()
    };
    let now = shared.clock.now();
    match operation {
        Operation::Metadata => {
            let federation = shared.federation();
            return federation.metadata(request, &shared.store().world);
        }
        Operation::Federate => return shared.federation().issue(request, now).map_err(refuse),
        _ => {}
    }
    let caller = authenticate(shared, request).map_err(&mut refuse)?;
    seen.caller = Some(caller.clone());
    let json = |value| Answer::json(200, &value);
    match (operation, ids) {
        (Operation::ListContainerImageSignatures, _) => artifacts::list_signatures(shared, request, fault),
        (Operation::CreateContainerImageSignature, _) => {
            artifacts::create_signature(shared, request, &caller)
        }
        (Operation::GetContainerImageSignature, [id]) => artifacts::get_signature(shared, id),
        (Operation::UpdateContainerImageSignature, [id]) => artifacts::update_signature(shared, request, id),
        (Operation::DeleteContainerImageSignature, [id]) => artifacts::delete_signature(shared, request, id),
        (Operation::GetContainerImage, [id]) => artifacts::get_image(shared, id),
        (Operation::ListContainerImages, _) => artifacts::list_images(shared, request, fault),
        (Operation::LookupContainerImageByUri, _) => artifacts::look_up(shared, request),
        (Operation::Sign, _) => kms::sign(shared, service, &request.body).map(json),
        (Operation::Verify, _) => kms::verify(shared, service, &request.body).map(json),
        (Operation::ListKeys, _) => kms::keys(shared, service).map(json),
        (Operation::GetKey, [id]) => kms::key(shared, service, id).map(json),
        (Operation::ListKeyVersions, [id]) => kms::versions(shared, service, id).map(json),
        (Operation::GetKeyVersion, [id, version]) => kms::version(shared, service, id, version).map(json),
        (_, _) => Err(Refusal::not_found()),
    }
}

/// Returns the caller that signed the request: a user with an API key, or an instance with a token.
fn authenticate(shared: &Shared, request: &Request) -> Result<String, Flaw> {
    let credentials = Credentials::from_request(request)?;
    let now = shared.clock.now();
    let (key, caller) = match credentials.key_id.strip_prefix("ST$") {
        Some(token) => {
            let token = shared.federation().holder(token, now)?;
            (token.key, token.principal)
        }
        None => api_key(shared, &credentials.key_id).ok_or(Flaw::UnknownKey)?,
    };
    verify(request, &credentials, &key, true)?;
    fresh(request, &credentials, now)?;
    Ok(caller)
}

fn api_key(shared: &Shared, key_id: &str) -> Option<(PublicKey, String)> {
    let store = shared.store();
    let [tenancy, user, asked] = key_id.split('/').collect::<Vec<_>>().try_into().ok()?;
    let user = store.world.users.iter().find(|each| each.id == user)?;
    let mut keys = user
        .public_keys
        .iter()
        .filter_map(|pem| PublicKey::from_public_key_pem(pem).ok());
    let key = keys.find(|key| fingerprint(key) == asked)?;
    (store.world.tenancy.id == tenancy).then(|| (key, user.id.clone()))
}
