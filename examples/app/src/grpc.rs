//! Calls of gRPC: any method is answered with one `Reply` of `greeter.proto`, whatever it was asked.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};

use crate::{config::Config, reply::Body};

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: &str = "grpc-status";
const OK: HeaderValue = HeaderValue::from_static("0");
const INTERNAL: HeaderValue = HeaderValue::from_static("13");

/// Whether a request is a call of gRPC.
pub(crate) fn is_call<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(CONTENT_TYPE.as_bytes()))
}

/// The answer to a call. gRPC says in its own words how it went: HTTP's status is always 200.
pub(crate) fn response(config: &Config, status: StatusCode) -> Response<Body> {
    let mut response = if status.is_success() {
        let trailers = HeaderMap::from_iter([(header::HeaderName::from_static(STATUS), OK)]);
        let body = Full::new(message(config)).with_trailers(async { Some(Ok(trailers)) });
        Response::new(body.boxed_unsync())
    } else {
        let mut response = Response::new(Full::default().boxed_unsync());
        response.headers_mut().insert(STATUS, INTERNAL);
        response
    };
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}

/// A `Reply` as a message of gRPC: not compressed, its length, its fields.
fn message(config: &Config) -> Bytes {
    let mut reply = Vec::new();
    field(1, &config.version, &mut reply);
    field(2, &config.pod, &mut reply);
    let mut message = vec![0];
    message.extend((reply.len() as u32).to_be_bytes());
    message.extend(reply);
    message.into()
}

/// A text field, as Protocol Buffers write it: number and wire type, length, bytes.
fn field(number: u8, text: &str, to: &mut Vec<u8>) {
    const LENGTH_DELIMITED: u8 = 2;
    to.push((number << 3) | LENGTH_DELIMITED);
    let mut length = text.len();
    while length >= 0x80 {
        to.push(length as u8 | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
    to.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_has_its_number_and_its_length() {
        let mut short = Vec::new();
        field(1, "v1", &mut short);
        assert_eq!(short, b"\x0a\x02v1");
        let mut long = Vec::new();
        field(2, &"x".repeat(300), &mut long);
        assert_eq!((&long[..3], long.len()), (&b"\x12\xac\x02"[..], 303));
    }
}
