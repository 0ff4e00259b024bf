//! The settings (SPEC.md, 8).

mod support;

use std::{collections::HashMap, path::PathBuf, time::Duration};

use jsonwebtoken::Algorithm;
use notify_server::{
    Config,
    config::{ConfigErrors, StoreConfig},
    origins::Origins,
};
use support::fixture_text;

/// What has no default.
const SECRETS: [(&str, &str); 2] = [("JWT_SECRET", "the-signing-secret"), ("INGEST_TOKEN", "the-service-credential")];

fn read(settings: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let map: HashMap<String, String> = settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Config::from_source(&map)
}

fn with(settings: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    read(&[&SECRETS[..], settings].concat())
}

fn faulty(settings: &[(&str, &str)]) -> Vec<&'static str> {
    with(settings).err().into_iter().flat_map(|errors| errors.0).map(|error| error.variable).collect()
}

#[test]
fn everything_but_the_secrets_has_a_default() {
    let config = with(&[]).unwrap();
    assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 3000));
    assert_eq!(config.origins, Origins::parse("http://localhost:3001").unwrap());
    assert_eq!(config.algorithm, Algorithm::HS256);
    assert_eq!((config.limits.max_events, config.limits.ttl), (50, Duration::from_secs(86_400)));
    assert_eq!(config.store, StoreConfig::Embedded(PathBuf::from("data")));
    assert_eq!(config.ack_timeout, Duration::from_secs(10));
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let config = with(&[("PORT", ""), ("REDIS_HOST", ""), ("CORS_ORIGIN", ""), ("STORE", ""), ("REDIS_PASSWORD", "")]);
    assert_eq!(config.unwrap().port, 3000);
    assert!(read(&[("JWT_SECRET", ""), ("INGEST_TOKEN", "")]).is_err());
}

#[test]
fn without_a_key_or_a_credential_there_is_no_start() {
    let errors = read(&[]).err().unwrap();
    let variables: Vec<_> = errors.0.iter().map(|error| error.variable).collect();
    assert_eq!(variables, ["JWT_SECRET", "INGEST_TOKEN"]);
    assert!(errors.to_string().contains("JWT_PUBLIC_KEY"));
}

#[test]
fn all_errors_are_reported_at_once_and_name_their_variables() {
    let wrong = [
        ("PORT", "70000"),
        ("CORS_ORIGIN", "http://a.test,b.test"),
        ("JWT_ALGORITHM", "none"),
        ("QUEUE_MAX_EVENTS", "0"),
        ("QUEUE_TTL_SECONDS", "-1"),
        ("ACK_TIMEOUT_SECONDS", "0"),
        ("STORE", "postgres"),
        ("REDIS_PORT", "x"),
        ("REDIS_DB", "-1"),
        ("INGEST_TOKEN", "with space"),
    ];
    let mut found = faulty(&wrong);
    found.sort_unstable();
    let mut expected: Vec<_> = wrong.iter().map(|(name, _)| *name).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let text = with(&wrong).err().unwrap().to_string();
    assert_eq!(text.lines().count(), wrong.len());
    assert!(wrong.iter().all(|(name, _)| text.contains(name)));
}

#[test]
fn no_error_shows_a_secret() {
    let settings = [
        ("JWT_SECRET", "s3cr3t-a"),
        ("JWT_PUBLIC_KEY", "s3cr3t-b"),
        ("INGEST_TOKEN", "s3cr3t c"),
        ("REDIS_PASSWORD", "s3cr3t-d"),
    ];
    for algorithm in ["HS256", "RS256", "ES256", "EdDSA", "s"] {
        let errors = read(&[&settings[..], &[("JWT_ALGORITHM", algorithm)]].concat()).err().unwrap();
        assert!(!format!("{errors} {errors:?}").contains("s3cr3t"), "{errors}");
    }
    let redis = [("REDIS_HOST", "h"), ("REDIS_PASSWORD", "s3cr3t")];
    assert!(!format!("{:?}", with(&redis).unwrap().store).contains("s3cr3t"));
}

#[test]
fn each_algorithm_wants_its_kind_of_key() {
    for (name, algorithm) in [("HS256", Algorithm::HS256), ("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)] {
        assert_eq!(with(&[("JWT_ALGORITHM", name)]).unwrap().algorithm, algorithm);
    }
    let keys = [("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed25519")];
    for (name, kind) in keys {
        let pem = fixture_text(&format!("keys/{kind}-public.pem"));
        for pem in [pem.clone(), pem.replace('\n', "\\n")] {
            assert!(with(&[("JWT_ALGORITHM", name), ("JWT_PUBLIC_KEY", &pem)]).is_ok(), "{name}");
        }
        for (_, other) in keys.iter().filter(|(_, other)| *other != kind) {
            let other = fixture_text(&format!("keys/{other}-public.pem"));
            assert_eq!(faulty(&[("JWT_ALGORITHM", name), ("JWT_PUBLIC_KEY", &other)]), ["JWT_PUBLIC_KEY"], "{name}");
        }
        assert_eq!(faulty(&[("JWT_ALGORITHM", name)]), ["JWT_PUBLIC_KEY"]);
    }
    let rsa = fixture_text("keys/rsa-public.pem");
    let public_only = [("JWT_PUBLIC_KEY", rsa.as_str()), ("INGEST_TOKEN", "x")];
    assert_eq!(read(&public_only).unwrap().algorithm, Algorithm::RS256);
    let errors = read(&[&public_only[..], &[("JWT_ALGORITHM", "HS256")]].concat()).err().unwrap();
    assert_eq!(errors.0[0].variable, "JWT_SECRET");
}

#[test]
fn redis_is_used_where_its_host_is_set_unless_the_store_says_otherwise() {
    let redis = [("REDIS_HOST", "h"), ("REDIS_PORT", "1"), ("REDIS_PASSWORD", "p"), ("REDIS_DB", "2")];
    let StoreConfig::Redis(config) = with(&redis).unwrap().store else { panic!("not redis") };
    assert_eq!((config.host.as_str(), config.port, config.db), ("h", 1, 2));
    assert_eq!(config.password.unwrap().expose(), "p");
    let embedded = with(&[("REDIS_HOST", "h"), ("STORE", "embedded"), ("DATA_DIR", "/d")]).unwrap().store;
    assert_eq!(embedded, StoreConfig::Embedded("/d".into()));
    let StoreConfig::Redis(config) = with(&[("STORE", "redis")]).unwrap().store else { panic!("not redis") };
    assert_eq!((config.host.as_str(), config.port, config.db, config.password), ("localhost", 6379, 0, None));
}

#[test]
fn an_entry_that_is_no_origin_is_an_error() {
    let origins = [
        "*",
        "http://a.test",
        "https://a.test:8443, http://localhost:3001",
        "http://[::1]:3000",
        "capacitor://localhost",
    ];
    for list in origins {
        assert!(faulty(&[("CORS_ORIGIN", list)]).is_empty(), "{list}");
    }
    let wrong = [
        "a.test",
        "http://",
        "http://a.test/",
        "http://a.test/path",
        "http://a.test:x",
        "http://a.test:99999",
        "//a.test",
        "*,http://a.test",
        "http://*.a.test",
        "http://a b",
    ];
    for list in wrong {
        assert_eq!(faulty(&[("CORS_ORIGIN", list)]), ["CORS_ORIGIN"], "{list}");
    }
}

#[test]
fn origins_are_equal_by_scheme_host_and_port() {
    assert_eq!(Origins::parse("HTTP://A.test:80"), Origins::parse("http://a.test"));
    assert_eq!(Origins::parse("https://a.test:443"), Origins::parse("https://a.test"));
    assert_ne!(Origins::parse("http://a.test:443"), Origins::parse("http://a.test"));
}
