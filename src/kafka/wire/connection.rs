//! One connection to one broker: TLS and SASL as the config says, requests out, answers in, in order.

use crate::config::kafka::KafkaConfig;
use crate::kafka::client::Fault;
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiVersionsRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest,
    InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
    SaslHandshakeRequest, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer};
use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslStream};
use rsasl::prelude::{Mechname, SASLClient, SASLConfig};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a broker may take to be connected to, and to take in a request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection that rested for so long is not used again: brokers, and what stands before them, close such ones, often without a word.
const REST_MAX: Duration = Duration::from_secs(60);
/// No answer to these requests is larger, unless a single batch is: a topic's `max.message.bytes` would have to be. Units: bytes.
const ANSWER_MAX: usize = 128 << 20;

/// A request that is made here.
pub(super) trait Spoken: Request {
    /// The versions that are spoken. Newer ones ask for more than is needed here; the oldest are what Kafka 2.5 knows, the newest what 4.x still does.
    const SPOKEN: (i16, i16);
    /// The one that is spoken where transactions are of the second kind (KIP-890).
    const SECOND: Option<i16>;
    /// Its name in the protocol.
    const NAME: &'static str;
}

macro_rules! spoken {
    ($($request:ident $name:literal $from:literal $to:literal $second:expr),* $(,)?) => {
        $(impl Spoken for $request {
            const SPOKEN: (i16, i16) = ($from, $to);
            const SECOND: Option<i16> = $second;
            const NAME: &'static str = $name;
        })*
    };
}

spoken! {
    ApiVersionsRequest "ApiVersions" 0 3 None,
    SaslHandshakeRequest "SaslHandshake" 1 1 None,
    SaslAuthenticateRequest "SaslAuthenticate" 0 2 None,
    MetadataRequest "Metadata" 4 9 None,
    FindCoordinatorRequest "FindCoordinator" 1 3 None,
    InitProducerIdRequest "InitProducerId" 3 4 None,
    AddPartitionsToTxnRequest "AddPartitionsToTxn" 0 3 None,
    AddOffsetsToTxnRequest "AddOffsetsToTxn" 0 3 None,
    TxnOffsetCommitRequest "TxnOffsetCommit" 3 4 Some(5),
    EndTxnRequest "EndTxn" 0 4 Some(5),
    ProduceRequest "Produce" 3 11 Some(12),
    ListOffsetsRequest "ListOffsets" 2 6 None,
    FetchRequest "Fetch" 4 12 None,
}

/// The feature that says how a cluster's transactions go, and the level from which on they are of the second kind.
const TRANSACTION_VERSION: (&str, i16) = ("transaction.version", 2);

enum Stream {
    Plain(TcpStream),
    Tls(Box<SslStream<TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(into),
            Stream::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

/// A connection. One that gave an error is of no use any more: whoever holds it drops it.
pub(super) struct Connection {
    stream: Stream,
    /// `host:port`, for errors.
    name: String,
    client_id: StrBytes,
    /// By the key of a request.
    versions: BTreeMap<i16, (i16, i16)>,
    /// Whether the cluster has transactions of the second kind, and whether they are spoken of here.
    offers_second: bool,
    speaks_second: bool,
    correlation: i32,
    used: Instant,
    /// When it must have been closed for the broker wants to know again who this is (KIP-368).
    ends: Option<Instant>,
}

impl Connection {
    /// Connects, and says who this is.
    ///
    /// Errors: `Retry` if the broker is away; `Stop` if it refuses the password, or is too old.
    pub(super) fn open(config: &KafkaConfig, host: &str, port: u16) -> Result<Self, Fault> {
        let name = format!("{host}:{port}");
        let lost = |e: &std::io::Error| Fault::Retry(format!("{name}: {}", words(e)));
        let tcp = connect(host, port).map_err(|e| lost(&e))?;
        let set = tcp.set_nodelay(true).and_then(|()| tcp.set_write_timeout(Some(CONNECT_TIMEOUT)));
        set.and_then(|()| tcp.set_read_timeout(Some(CONNECT_TIMEOUT))).map_err(|e| lost(&e))?;
        let stream = match config.security_protocol.as_str() {
            "ssl" | "sasl_ssl" => Stream::Tls(Box::new(tls(config, host, &name, tcp)?)),
            _ => Stream::Plain(tcp),
        };
        let client_id = StrBytes::from_string(config.client_id.clone());
        let used = Instant::now();
        let (offers_second, speaks_second) = (false, false);
        let versions = BTreeMap::from([(ApiVersionsRequest::KEY, (0, 0))]);
        let mut new = Connection { stream, name, client_id, versions, offers_second, speaks_second, correlation: 0, used, ends: None };
        new.ask_versions()?;
        if config.security_protocol.starts_with("sasl") {
            new.authenticate(config)?;
        }
        // Once more, in the newest version that both know: of the cluster's features. Before it is told who asks, a broker answers once.
        new.ask_versions()?;
        Ok(new)
    }

    /// Asks what the broker knows; the first time in the oldest version of the question, which each of them answers.
    fn ask_versions(&mut self) -> Result<(), Fault> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("lethe"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let told = self.call(&request)?;
        self.versions = told.api_keys.iter().map(|v| (v.api_key, (v.min_version, v.max_version))).collect();
        let (name, level) = TRANSACTION_VERSION;
        self.offers_second = told.finalized_features.iter().any(|f| *f.name == *name && f.max_version_level >= level);
        Ok(())
    }

    /// Whether the cluster has transactions of the second kind.
    pub(super) fn offers_second(&self) -> bool {
        self.offers_second
    }

    /// Which kind is spoken of from here on.
    pub(super) fn speak_second(&mut self, second: bool) {
        self.speaks_second = second;
    }

    /// Whether it may be used for what begins now.
    pub(super) fn is_fresh(&self) -> bool {
        self.used.elapsed() < REST_MAX && self.ends.is_none_or(|at| Instant::now() < at)
    }

    /// Asks and waits for the answer. Errors: as [`Connection::send`].
    pub(super) fn call<R: Spoken>(&mut self, request: &R) -> Result<R::Response, Fault> {
        let version = self.send(request)?;
        self.receive::<R>(version)
    }

    /// Asks; the answer is to be received. Returns the version it will have. Errors: `Retry`, the connection is lost; `Stop`, the broker is too old.
    pub(super) fn send<R: Spoken>(&mut self, request: &R) -> Result<i16, Fault> {
        let version = self.version::<R>()?;
        self.correlation = self.correlation.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(self.client_id.clone()));
        let mut frame = BytesMut::from([0; 4].as_slice());
        frame.reserve(request.compute_size(version).unwrap_or(0) + 64);
        let written = encode_request_header_into_buffer(&mut frame, &header).and_then(|()| request.encode(&mut frame, version));
        written.map_err(|_| Fault::Recreate(format!("{} cannot be written in version {version}", R::NAME)))?;
        let length = (frame.len() - 4) as i32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame).map_err(|e| self.lost(&e))?;
        self.used = Instant::now();
        Ok(version)
    }

    /// The answer to the oldest request that has none. Errors: `Retry`, the connection is lost.
    pub(super) fn receive<R: Spoken>(&mut self, version: i16) -> Result<R::Response, Fault> {
        let answer = self.frame().map_err(|e| self.lost(&e))?;
        self.used = Instant::now();
        let mut answer = Bytes::from(answer);
        // The text of what cannot be read might quote it.
        let read = ResponseHeader::decode(&mut answer, R::Response::header_version(version))
            .and_then(|_| R::Response::decode(&mut answer, version));
        read.map_err(|_| Fault::Retry(format!("{}: an answer to {} that is none", self.name, R::NAME)))
    }

    /// How long answers may take from here on. Errors: the connection is lost.
    pub(super) fn patience(&mut self, wait: Duration) -> Result<(), Fault> {
        let wait = wait.clamp(Duration::from_millis(1), ANSWER_TIMEOUT);
        self.stream.tcp().set_read_timeout(Some(wait)).map_err(|e| self.lost(&e))
    }

    fn frame(&mut self) -> std::io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > ANSWER_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    fn version<R: Spoken>(&self) -> Result<i16, Fault> {
        let (low, high) = R::SECOND.filter(|_| self.speaks_second).map_or(R::SPOKEN, |second| (second, second));
        let common = self.versions.get(&R::KEY).map(|(theirs_low, theirs_high)| (low.max(*theirs_low), high.min(*theirs_high)));
        match common {
            Some((low, high)) if low <= high => Ok(high),
            _ => Err(Fault::Stop(format!("{}: the broker knows no {} between version {low} and {high}", self.name, R::NAME))),
        }
    }

    fn lost(&self, error: &std::io::Error) -> Fault {
        Fault::Retry(format!("{}: {}", self.name, words(error)))
    }

    fn authenticate(&mut self, config: &KafkaConfig) -> Result<(), Fault> {
        let refused = |step: &str| Fault::Stop(format!("kafka.sasl_username, kafka.sasl_password_file: {step}"));
        let mechanism = Mechname::parse(config.sasl_mechanism.as_bytes()).map_err(|_| refused("no such mechanism"))?;
        let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_string(config.sasl_mechanism.clone()));
        if let Some(error) = ResponseError::try_from_code(self.call(&request)?.error_code) {
            return Err(refused(&format!("{}: {error}", self.name)));
        }
        let password = super::super::client::password(config)?;
        let sasl =
            SASLConfig::with_credentials(None, config.sasl_username.clone(), password).map_err(|_| refused("they are not usable"))?;
        let mut session = SASLClient::new(sasl).start_suggested(&[mechanism]).map_err(|_| refused("no such mechanism"))?;
        let mut answer: Option<Bytes> = None;
        loop {
            let mut out = Vec::new();
            // What the library says of a failure may quote what was exchanged.
            let state = session.step(answer.as_deref(), &mut out).map_err(|_| refused(&format!("{}: not authenticated", self.name)))?;
            if state.has_sent_message() {
                let began = Instant::now();
                let told = self.call(&SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(out)))?;
                if let Some(error) = ResponseError::try_from_code(told.error_code) {
                    return Err(refused(&format!("{}: {error}", self.name)));
                }
                if let Ok(lifetime @ 1..) = u64::try_from(told.session_lifetime_ms) {
                    self.ends = Some(began + Duration::from_millis(lifetime / 2));
                }
                answer = Some(told.auth_bytes);
            }
            if !state.is_running() {
                return Ok(());
            }
            if answer.as_ref().is_some_and(|a| a.remaining() == 0) {
                return Err(refused(&format!("{}: not authenticated", self.name)));
            }
        }
    }
}

/// An error without its number: what people look for is the words.
fn words(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer in time".into(),
        ErrorKind::UnexpectedEof => "the broker closed the connection".into(),
        ErrorKind::InvalidData => "what answers is no broker".into(),
        _ => error.to_string(),
    }
}

fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut last = ErrorKind::NotFound.into();
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn tls(config: &KafkaConfig, host: &str, name: &str, tcp: TcpStream) -> Result<SslStream<TcpStream>, Fault> {
    let wrong = |field: &str| Fault::Stop(format!("kafka.{field}: the file holds no such thing in PEM"));
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|e| Fault::Stop(format!("TLS: {e}")))?;
    if config.ssl_ca_location.is_empty() {
        let found = openssl_probe::probe();
        let (file, folder) = (found.cert_file.as_deref(), found.cert_dir.first().map(AsRef::<Path>::as_ref));
        // Without authorities no broker is believed, which the handshake tells.
        let _ = builder.load_verify_locations(file, folder);
    } else {
        builder.set_ca_file(&config.ssl_ca_location).map_err(|_| wrong("ssl_ca_location"))?;
    }
    if !config.ssl_certificate_location.is_empty() {
        builder.set_certificate_chain_file(&config.ssl_certificate_location).map_err(|_| wrong("ssl_certificate_location"))?;
    }
    if !config.ssl_key_location.is_empty() {
        builder.set_private_key_file(&config.ssl_key_location, SslFiletype::PEM).map_err(|_| wrong("ssl_key_location"))?;
    }
    // The name of the broker is checked, as librdkafka does.
    builder.build().connect(host, tcp).map_err(|e| Fault::Retry(format!("{name}: TLS: {e}")))
}
