//! What a request of the Socket.IO transports asks for: parsed once, decided on, and written again for the library.
//!
//! The library looks for `sid=` in the raw query and opens a session when it finds none. So no request reaches it as it
//! came: the hub reads the query into [`Asked`] by the grammar below, refuses everything else with 400, and gives the
//! library an address made from that value. Both act on one reading, whatever the spelling was.
//!
//! ```text
//! query     = parameter *("&" parameter)        ; each name at most once
//! parameter = "EIO=4"
//!           / "transport=" ("polling" / "websocket")
//!           / "sid=" 16(ALPHA / DIGIT / "-" / "_")
//!           / "t=" *64(ALPHA / DIGIT / "-" / "_" / ".")     ; against caches, not looked at
//!           / "b64=" *1(ALPHA / DIGIT)*5                   ; Engine.IO 3, not looked at
//!           / ("userId" / "meetingId" / "name" / "token") "=" urlencoded
//! ```

use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use socketioxide::socket::Sid;

use super::sockets::PATH;
use crate::web::Refusal;

/// Longest query, bytes: a token and three names of which each character is three bytes.
const LONGEST: usize = 4096;

/// The WebSocket subprotocol of a client that shows its token with its first request. Scripts of a page cannot set other
/// headers there, and an address would end up in logs.
pub(super) const SUBPROTOCOL: &str = "huddled-token";

/// The token behind [`SUBPROTOCOL`]: `Sec-WebSocket-Protocol: huddled-token, TOKEN`.
pub(super) fn offered_token(headers: &HeaderMap) -> Option<&str> {
    let mut offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let (Some(offer), None) = (offers.next(), offers.next()) else {
        return None;
    };
    let (name, token) = offer.to_str().ok()?.split_once(',')?;
    (name.trim() == SUBPROTOCOL).then(|| token.trim())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Polling,
    WebSocket,
}

/// Who a client says it is, in the query of the request that opens its session.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) user: Option<String>,
    pub(super) meeting: Option<String>,
    pub(super) name: Option<String>,
    pub(super) token: Option<String>,
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Said(<may hold a token>)")
    }
}

/// One request of the transports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) transport: Transport,
    /// The session it belongs to; without one it opens a session.
    pub(super) sid: Option<Sid>,
    pub(super) said: Said,
}

impl Asked {
    /// Reads the first line of a request.
    ///
    /// # Errors
    /// 405 for a method that means nothing here, 400 for a query outside of the grammar.
    pub(super) fn read(method: &Method, uri: &Uri) -> Result<Self, Refusal> {
        let asked = Self::parse(uri.query().unwrap_or_default()).map_err(refused)?;
        match (method, asked.transport, asked.sid) {
            (&Method::GET, ..) | (&Method::POST, Transport::Polling, Some(_)) => Ok(asked),
            (&Method::POST, _, None) => Err(refused("a session is opened with GET")),
            _ => Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "wrong-method",
                "sessions take GET, and POST by polling",
            )),
        }
    }

    fn parse(query: &str) -> Result<Self, &'static str> {
        if query.len() > LONGEST {
            return Err("the query is too long");
        }
        let mut version = None;
        let mut transport = None;
        let mut sid = None;
        let (mut time, mut binary) = (None, None);
        let mut said = Said::default();
        for parameter in query.split('&') {
            let (name, value) = parameter
                .split_once('=')
                .ok_or("each parameter of the query needs a value")?;
            match name {
                "EIO" => once(&mut version, (value == "4").then_some(()))?,
                "transport" => {
                    let value = match value {
                        "polling" => Some(Transport::Polling),
                        "websocket" => Some(Transport::WebSocket),
                        _ => None,
                    };
                    once(&mut transport, value)?;
                }
                "sid" => once(&mut sid, value.parse().ok())?,
                "t" => once(&mut time, plain(value, 64))?,
                "b64" => once(&mut binary, plain(value, 5))?,
                "userId" => once(&mut said.user, decoded(value))?,
                "meetingId" => once(&mut said.meeting, decoded(value))?,
                "name" => once(&mut said.name, decoded(value))?,
                "token" => once(&mut said.token, decoded(value))?,
                _ => return Err("the query has a parameter that means nothing here"),
            }
        }
        version.ok_or("the query needs EIO=4")?;
        Ok(Self {
            transport: transport.ok_or("the query needs a transport")?,
            sid,
            said,
        })
    }

    /// The address for the library.
    pub(super) fn uri(&self) -> Uri {
        let transport = match self.transport {
            Transport::Polling => "polling",
            Transport::WebSocket => "websocket",
        };
        let session = self
            .sid
            .map_or_else(String::new, |sid| format!("&sid={sid}"));
        format!("{PATH}?EIO=4&transport={transport}{session}")
            .parse()
            .expect("a path, two words and a session id make an address")
    }
}

fn refused(why: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "query", why)
}

fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), &'static str> {
    if place.is_some() {
        return Err("the query has a parameter twice");
    }
    *place = Some(value.ok_or("the query has a parameter with a wrong value")?);
    Ok(())
}

fn plain(value: &str, longest: usize) -> Option<()> {
    let fits = value.len() <= longest
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    fits.then_some(())
}

/// A value of `application/x-www-form-urlencoded` (WHATWG URL, section 5); `None` for one that no encoder writes.
fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use hyper::service::Service;
    use proptest::prelude::*;

    use super::*;

    const SID: &str = "AA9AAA0AAzAAAAHs";

    fn parse(query: &str) -> Result<Asked, &'static str> {
        Asked::parse(query)
    }

    #[test]
    fn what_the_clients_ask_is_understood() {
        // The official client, the box's library, and a client that repeats who it is.
        for query in [
            "EIO=4&transport=polling&t=PXk2j_a",
            "userId=u-1&meetingId=m&EIO=4&transport=websocket",
            "EIO=4&transport=polling&t=x.1&b64=1",
            "token=a.b-_&name=Room+1%2F2+%C3%A9&EIO=4&transport=websocket",
        ] {
            assert!(
                parse(query).is_ok_and(|asked| asked.sid.is_none()),
                "{query}"
            );
        }
        let asked = parse(&format!("EIO=4&transport=polling&sid={SID}")).unwrap();
        assert_eq!(asked.sid.map(|sid| sid.to_string()).as_deref(), Some(SID));
        let asked = parse("name=Room+1%2F2+%C3%A9&EIO=4&transport=websocket").unwrap();
        assert_eq!(asked.said.name.as_deref(), Some("Room 1/2 é"));
    }

    #[test]
    fn another_spelling_is_refused() {
        for parameter in [
            "",
            "&",
            "&s%69d=x",
            "&%73id=AA9AAA0AAzAAAAHs",
            "&sid=",
            "&sid",
            "&sid=x",
            "&sid=AA9AAA0AAzAAAAH%73",
            "&SID=AA9AAA0AAzAAAAHs",
            "&sid=AA9AAA0AAzAAAAHs&sid=AA9AAA0AAzAAAAHs",
            "&sid[]=AA9AAA0AAzAAAAHs",
            "&+sid=AA9AAA0AAzAAAAHs",
            "&sid%00=x",
            ";sid=AA9AAA0AAzAAAAHs",
            "&transport=websocket",
            "&transport=polling",
            "&EIO=4",
            "&EIO=3",
            "&j=0",
            "&t=a%62",
            "&t=1&t=2",
            "&b64=1=1",
            "&name=%4",
            "&name=%ff",
            "&token=a&token=b",
            "&x=1",
        ] {
            let query = format!("EIO=4&transport=polling{parameter}");
            assert_eq!(parse(&query).is_ok(), parameter.is_empty(), "{query}");
        }
        for query in [
            "",
            "EIO=4",
            "transport=polling",
            "EIO=3&transport=polling",
            "EIO=04&transport=polling",
            "EIO=4&transport=Polling",
            "EIO=4&transport=",
            "EIO=4&transport=webtransport",
            "eio=4&transport=polling",
        ] {
            assert!(parse(query).is_err(), "{query}");
        }
        assert!(
            parse(&format!(
                "EIO=4&transport=polling&name={}",
                "x".repeat(5000)
            ))
            .is_err()
        );
    }

    #[test]
    fn methods_are_those_of_the_transports() {
        let read = |method: &str, query: &str| {
            let uri = format!("{PATH}?EIO=4&{query}").parse().unwrap();
            Asked::read(&Method::from_bytes(method.as_bytes()).unwrap(), &uri)
                .map_err(|refusal| refusal.status.as_u16())
        };
        let session = format!("transport=polling&sid={SID}");
        assert!(read("GET", "transport=polling").is_ok());
        assert!(read("GET", &session).is_ok() && read("POST", &session).is_ok());
        assert_eq!(read("POST", "transport=polling").unwrap_err(), 400);
        assert_eq!(read("POST", "transport=websocket").unwrap_err(), 400);
        for method in ["get", "Post", "PUT", "OPTIONS", "HEAD", "CONNECT"] {
            assert_eq!(read(method, &session).unwrap_err(), 405, "{method}");
        }
    }

    /// What the library makes of an address: its status, and whether a session was opened.
    fn library(uri: &Uri) -> (u16, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (service, _io) = socketioxide::SocketIo::builder().build_svc();
            let mut request = Request::get(uri.clone());
            if uri
                .query()
                .is_some_and(|query| query.contains("transport=websocket"))
            {
                request = request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
            }
            let request = request.body(Body::empty()).unwrap();
            let answer = service.call(request).await.unwrap();
            let status = answer.status().as_u16();
            let body = axum::body::to_bytes(Body::new(answer.into_body()), 4096).await;
            let opened = body.is_ok_and(|body| body.starts_with(b"0{"));
            (status, opened)
        })
    }

    fn parameter() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => Just("EIO=4".to_owned()),
            4 => Just("transport=polling".to_owned()),
            2 => Just("transport=websocket".to_owned()),
            2 => Just(format!("sid={SID}")),
            2 => "(s|%73|S|s%69d|sid|EI|t|transport|userId|name)[=&;%+]?[a-zA-Z0-9=%&]{0,18}",
            1 => "\\PC{0,8}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// The library reads the address that is written for it as the hub has read the request, and whatever the hub
        /// takes for an opening the library does too.
        #[test]
        fn hub_and_library_read_alike(parameters in prop::collection::vec(parameter(), 1..6)) {
            let query = parameters.join("&");
            if let Ok(asked) = parse(&query) {
                let opens = asked.sid.is_none() && asked.transport == Transport::Polling;
                let expected = match (asked.transport, asked.sid) {
                    (Transport::Polling, None) => 200,
                    // A session that does not exist.
                    (Transport::Polling, Some(_)) => 400,
                    (Transport::WebSocket, _) => 101,
                };
                prop_assert_eq!(library(&asked.uri()), (expected, opens), "{}", query);
                if let Ok(raw) = format!("{PATH}?{query}").parse::<Uri>() {
                    prop_assert_eq!(library(&raw), (expected, opens), "{}", query);
                }
            }
        }

        #[test]
        fn noise_never_panics(query in "\\PC{0,60}") {
            let _ = parse(&query);
        }

        #[test]
        fn what_an_encoder_writes_is_read_back(name in "\\PC{0,20}") {
            let mut url = reqwest::Url::parse("http://hub/").unwrap();
            url.query_pairs_mut().append_pair("name", &name);
            let query = format!("EIO=4&transport=polling&{}", url.query().unwrap());
            prop_assert_eq!(parse(&query).unwrap().said.name, Some(name));
        }
    }
}
