//! The settings (SPEC.md, 8).

mod support;

use std::{collections::HashMap, path::PathBuf, time::Duration};

use jsonwebtoken::Algorithm;
use notify_server::{
    Config,
    config::{ConfigErrors, StoreConfig},
    origins::Origins,
    proxies::TrustedProxies,
};
use support::fixture_text;

/// Long enough for every algorithm.
const LONG: &str = "the-signing-secret-which-is-long-enough-for-each-of-the-algorithms";

/// What has no default.
const SECRETS: [(&str, &str); 2] = [("JWT_SECRET", LONG), ("INGEST_TOKEN", "the-service-credential")];

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
    assert_eq!(config.trusted_proxies, TrustedProxies::default());
    assert_eq!(config.tokens.algorithm, Some(Algorithm::HS256));
    assert_eq!((config.limits.max_events, config.limits.ttl), (50, Duration::from_secs(86_400)));
    assert_eq!(config.store, StoreConfig::Embedded(PathBuf::from("data")));
    assert_eq!(config.ack_timeout, Duration::from_secs(10));
    assert_eq!(config.keep_alive, Duration::from_secs(75));
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
        ("TRUSTED_PROXIES", "10.0.0.0/8,proxy.test"),
        ("JWT_ALGORITHM", "none"),
        ("QUEUE_MAX_EVENTS", "0"),
        ("QUEUE_TTL_SECONDS", "-1"),
        ("ACK_TIMEOUT_SECONDS", "0"),
        ("STORE", "postgres"),
        ("HOST", "http://0.0.0.0"),
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
        assert_eq!(with(&[("JWT_ALGORITHM", name)]).unwrap().tokens.algorithm, Some(algorithm));
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
    assert_eq!(read(&public_only).unwrap().tokens.algorithm, Some(Algorithm::RS256));
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
fn a_redis_url_says_where_redis_is_and_who_logs_in() {
    let url = |url: &str| match with(&[("REDIS_URL", url)]).unwrap_or_else(|errors| panic!("{url}: {errors}")).store {
        StoreConfig::Redis(config) => config,
        StoreConfig::Embedded(_) => panic!("not redis"),
    };
    let plain = url("redis://cache.example.test");
    assert_eq!((plain.host.as_str(), plain.port, plain.db), ("cache.example.test", 6379, 0));
    assert_eq!((plain.username, plain.password), (None, None));
    let full = url("redis://notify:p%40ss%3Aw%2Frd@10.0.0.7:6380/3");
    assert_eq!((full.host.as_str(), full.port, full.db), ("10.0.0.7", 6380, 3));
    assert_eq!((full.username.as_deref(), full.password.unwrap().expose()), (Some("notify"), "p@ss:w/rd"));
    let only_password = url("redis://:secret@[::1]:6380");
    assert_eq!((only_password.host.as_str(), only_password.username), ("::1", None));
    assert_eq!(only_password.password.unwrap().expose(), "secret");
    // What is not in the URL may stand beside it; Kubernetes' own variable is no contradiction.
    let beside = [
        ("REDIS_URL", "redis://h"),
        ("REDIS_USERNAME", "u"),
        ("REDIS_PASSWORD", "p"),
        ("REDIS_DB", "4"),
        ("REDIS_PORT", "tcp://10.0.0.1:6379"),
    ];
    let StoreConfig::Redis(config) = with(&beside).unwrap().store else { panic!("not redis") };
    assert_eq!((config.host.as_str(), config.port, config.db), ("h", 6379, 4));
    assert_eq!((config.username.as_deref(), config.password.unwrap().expose()), (Some("u"), "p"));
}

#[test]
fn several_hosts_or_a_word_are_a_cluster() {
    let cluster = |settings: &[(&str, &str)]| {
        let StoreConfig::Redis(config) = with(settings).unwrap().store else { panic!("not redis") };
        let places = config.cluster.iter().map(|it| format!("{}:{}", it.host, it.port)).collect::<Vec<_>>();
        (places, config.username, config.password.map(|password| password.expose().to_owned()))
    };
    let user = |name: &str| Some(name.to_owned());
    let url = ("REDIS_URL", "redis://u:p,q%40@a:1,b,[::1]:3/0");
    assert_eq!(cluster(&[url]), (vec!["a:1".to_owned(), "b:6379".into(), "::1:3".into()], user("u"), user("p,q@")));
    assert_eq!(cluster(&[("REDIS_HOST", "h"), ("REDIS_CLUSTER", "true")]).0, ["h:6379"]);
    assert_eq!(cluster(&[("REDIS_URL", "redis://h:7"), ("REDIS_CLUSTER", "true")]).0, ["h:7"]);
    assert_eq!(cluster(&[("REDIS_URL", "redis://h:7"), ("REDIS_CLUSTER", "false")]).0, Vec::<String>::new());
    assert_eq!(faulty(&[url, ("REDIS_CLUSTER", "false")]), ["REDIS_CLUSTER"]);
    assert_eq!(faulty(&[url, ("REDIS_CLUSTER", "perhaps")]), ["REDIS_CLUSTER"]);
    assert_eq!(faulty(&[url, ("REDIS_DB", "3")]), ["REDIS_DB"]);
    assert_eq!(faulty(&[("REDIS_URL", "redis://a,b/3")]), ["REDIS_DB"]);
    let both = [("REDIS_SENTINELS", "h:1"), ("REDIS_SENTINEL_MASTER", "m"), ("REDIS_CLUSTER", "true")];
    assert_eq!(faulty(&both), ["REDIS_CLUSTER"]);
}

#[test]
fn a_redis_url_that_cannot_be_followed_is_explained_and_not_shown() {
    for (url, words) in [
        ("redis://:s3cr3t@a:1,,b:2", "must be redis://"),
        ("redis://:s3cr3t@a:1,b:nonsense", "must be redis://"),
        ("redis+sentinel://:s3cr3t@h", "Sentinel"),
        ("unix:///s3cr3t", "Unix socket"),
        ("http://:s3cr3t@h", "must be redis://"),
        ("s3cr3t@h:6379", "must be redis://"),
        ("redis://:s3cr3t/@h", "%-encoded"),
        ("redis://:s3cr3t@h?db=3", "%-encoded"),
        ("redis://:s3cr3t@h/first", "%-encoded"),
        ("redis://:s3cr3t@h/70000", "database number"),
        ("redis://", "%-encoded"),
    ] {
        let errors = with(&[("REDIS_URL", url)]).err().unwrap_or_else(|| panic!("{url}"));
        assert_eq!(errors.0.len(), 1, "{url}: {errors}");
        assert_eq!(errors.0[0].variable, "REDIS_URL");
        let text = format!("{errors} {errors:?}");
        assert!(text.contains(words) && !text.contains("s3cr3t"), "{url}: {text}");
    }
    assert_eq!(faulty(&[("REDIS_URL", "redis://u@h")]), ["REDIS_USERNAME"]);
    assert_eq!(faulty(&[("REDIS_HOST", "h"), ("REDIS_USERNAME", "u")]), ["REDIS_USERNAME"]);
    let twice = [
        ("REDIS_URL", "redis://u:p@h/2"),
        ("REDIS_HOST", "h"),
        ("REDIS_PORT", "6379"),
        ("REDIS_USERNAME", "u"),
        ("REDIS_PASSWORD", "p"),
        ("REDIS_DB", "3"),
    ];
    let mut expected: Vec<_> = twice[1..].iter().map(|(name, _)| *name).collect();
    let mut found = faulty(&twice);
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected, "each is told that it is set twice");
}

#[test]
fn what_others_put_into_the_variables_of_redis_is_understood_or_explained() {
    let place = |settings: &[(&str, &str)]| match with(settings).unwrap_or_else(|errors| panic!("{errors}")).store {
        StoreConfig::Redis(config) => (config.host, config.port),
        StoreConfig::Embedded(_) => ("embedded".to_owned(), 0),
    };
    let service = ("REDIS_PORT", "tcp://10.0.0.1:6380");
    assert_eq!(place(&[("REDIS_HOST", "redis"), service]), ("redis".to_owned(), 6380));
    assert_eq!(place(&[("STORE", "redis"), service]), ("10.0.0.1".to_owned(), 6380));
    assert_eq!(place(&[("REDIS_HOST", "[::1]")]), ("::1".to_owned(), 6379));
    for store in ["", "embedded"] {
        for port in ["tcp://10.0.0.1:6379", "x"] {
            assert_eq!(
                place(&[("STORE", store), ("REDIS_PORT", port)]),
                ("embedded".to_owned(), 0),
                "not its business"
            );
        }
    }
    for (host, words) in [("redis://h:6379", "REDIS_URL"), ("h:6379", "REDIS_PORT"), ("h/1", "name or an address")] {
        let errors = with(&[("REDIS_HOST", host)]).err().unwrap();
        assert_eq!(errors.0[0].variable, "REDIS_HOST");
        assert!(errors.to_string().contains(words), "{errors}");
    }
    for port in ["udp://10.0.0.1:6379", "tcp://10.0.0.1", "tcp://10.0.0.1:0", "0", "65536"] {
        assert_eq!(faulty(&[("REDIS_HOST", "h"), ("REDIS_PORT", port)]), ["REDIS_PORT"], "{port}");
    }
}

#[test]
fn who_has_not_chosen_a_store_is_warned() {
    let warnings = |settings: &[(&str, &str)]| with(settings).unwrap().warnings;
    let [warning] = &warnings(&[])[..] else { panic!("one warning") };
    assert!(["REDIS_URL", "STORE", "DATA_DIR"].iter().all(|name| warning.contains(name)), "{warning}");
    let [warning] = &warnings(&[("REDIS_PASSWORD", "s3cr3t"), ("REDIS_PORT", "tcp://10.0.0.1:6379")])[..] else {
        panic!("one warning")
    };
    assert!(warning.contains("REDIS_PORT, REDIS_PASSWORD alone") && !warning.contains("s3cr3t"), "{warning}");
    for chosen in [("STORE", "embedded"), ("STORE", "redis"), ("REDIS_HOST", "h"), ("REDIS_URL", "redis://h")] {
        assert!(warnings(&[chosen]).is_empty(), "{chosen:?}");
    }
}

#[test]
fn a_host_is_taken_as_people_write_it() {
    for (written, host) in [
        ("localhost", "localhost"),
        ("0.0.0.0", "0.0.0.0"),
        ("::", "::"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[::]", "::"),
        ("notify-0.notify.svc", "notify-0.notify.svc"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ] {
        let config = with(&[("HOST", written)]).unwrap_or_else(|errors| panic!("{written}: {errors}"));
        assert_eq!(config.host, host);
    }
    for (written, words) in [
        ("0.0.0.0:3000", "belongs into PORT"),
        ("localhost:3000", "belongs into PORT"),
        ("[::1]:3000", "belongs into PORT"),
        ("http://localhost", "name or an address"),
        ("*", "0.0.0.0"),
        (" localhost", "name or an address"),
    ] {
        let errors = with(&[("HOST", written)]).err().unwrap_or_else(|| panic!("{written}"));
        assert_eq!(errors.0[0].variable, "HOST");
        assert!(errors.to_string().contains(words), "{written}: {errors}");
    }
}

#[test]
fn secrets_are_read_from_files() {
    let folder = std::env::temp_dir().join(format!("notify-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &[u8]| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name).display().to_string()
    };
    let secret = file("secret", format!("{LONG}\r\n").as_bytes());
    let (token, password) = (file("token", b"the-service-credential\n"), file("password", b" p w \n\n"));
    let url = file("url", b"redis://:s3cr3t@h\n");
    let config = read(&[
        ("JWT_SECRET_FILE", &secret),
        ("INGEST_TOKEN_FILE", &token),
        ("REDIS_HOST", "h"),
        ("REDIS_PASSWORD_FILE", &password),
    ]);
    let config = config.unwrap();
    assert_eq!(config.tokens.keys[0].key.try_get_as_bytes().unwrap(), LONG.as_bytes());
    assert_eq!(config.ingest_tokens[0].expose(), "the-service-credential");
    let StoreConfig::Redis(redis) = config.store else { panic!("not redis") };
    assert_eq!(redis.password.unwrap().expose(), " p w ", "only the line breaks at the end go");
    let StoreConfig::Redis(redis) = with(&[("REDIS_URL_FILE", &url)]).unwrap().store else { panic!("not redis") };
    assert_eq!(redis.password.unwrap().expose(), "s3cr3t");
    let pem = file("pem", fixture_text("keys/ec-public.pem").as_bytes());
    let from_pem = [("JWT_PUBLIC_KEY_FILE", pem.as_str()), ("JWT_ALGORITHM", "ES256"), ("INGEST_TOKEN", "x")];
    assert_eq!(read(&from_pem).unwrap().tokens.algorithm, Some(Algorithm::ES256));

    let (empty, binary) = (file("empty", b"\n"), file("binary", b"\xff\xfe\xff"));
    let absent = folder.join("s3cr3t-taken-for-a-path").display().to_string();
    for wrong in [&empty, &binary, &absent, "/"] {
        let settings = [
            ("JWT_SECRET_FILE", wrong),
            ("INGEST_TOKEN_FILE", wrong),
            ("STORE", "redis"),
            ("REDIS_PASSWORD_FILE", wrong),
        ];
        let errors = read(&settings).err().unwrap();
        let mut variables: Vec<_> = errors.0.iter().map(|error| error.variable).collect();
        variables.sort_unstable();
        assert_eq!(variables, ["INGEST_TOKEN_FILE", "JWT_SECRET_FILE", "REDIS_PASSWORD_FILE"], "{wrong}");
        assert!(!errors.to_string().contains("s3cr3t"), "{errors}");
    }
    assert_eq!(faulty(&[("JWT_SECRET_FILE", &secret)]), ["JWT_SECRET_FILE"], "both are set");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_key_that_is_weak_or_of_the_wrong_kind_is_refused_with_words() {
    for (algorithm, least) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        let try_secret = |length: usize| {
            let secret = "s".repeat(length);
            read(&[("JWT_SECRET", secret.as_str()), ("JWT_ALGORITHM", algorithm), ("INGEST_TOKEN", "x")])
        };
        assert!(try_secret(least).is_ok());
        let errors = try_secret(least - 1).err().unwrap();
        assert_eq!(errors.0[0].variable, "JWT_SECRET");
        assert!(errors.to_string().contains(&format!("{least} bytes")), "{errors}");
    }
    let pem = fixture_text("keys/rsa-public.pem");
    let errors = read(&[("JWT_SECRET", pem.as_str()), ("INGEST_TOKEN", "x")]).err().unwrap();
    assert!(errors.to_string().contains("JWT_PUBLIC_KEY"), "a public key is no secret: {errors}");
    for (algorithm, key, words) in [
        ("RS256", "rsa-private", "private key"),
        ("ES256", "ec-private", "private key"),
        ("EdDSA", "ed25519-private", "private key"),
        ("RS256", "rsa-1024-public", "2048 bits"),
        ("ES256", "p384-public", "P-256"),
        ("EdDSA", "p384-public", "Ed25519"),
    ] {
        let pem = fixture_text(&format!("keys/{key}.pem"));
        let errors =
            with(&[("JWT_ALGORITHM", algorithm), ("JWT_PUBLIC_KEY", &pem)]).err().unwrap_or_else(|| panic!("{key}"));
        assert_eq!(errors.0[0].variable, "JWT_PUBLIC_KEY", "{key}");
        let text = errors.to_string();
        assert!(text.contains(words), "{key}: {text}");
        assert!(pem.lines().filter(|line| !line.starts_with("-----")).all(|line| !text.contains(line)), "{key}");
    }
}

#[test]
fn an_entry_that_is_no_origin_is_an_error() {
    let origins = [
        "*",
        "http://a.test",
        "https://a.test:8443, http://localhost:3001",
        "http://[::1]:3000",
        "capacitor://localhost",
        "null, http://a.test",
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
        "Null",
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

#[cfg(feature = "tls")]
#[test]
fn tls_to_redis_is_asked_for_by_the_url_and_its_parts_are_checked() {
    let authority = rcgen::generate_simple_self_signed(["h".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["h".to_owned()]).unwrap();
    let (pem, key) = (authority.cert.pem(), authority.signing_key.serialize_pem());
    let other_key = other.signing_key.serialize_pem();
    let url = ("REDIS_URL", "rediss://u:p%40@h:6380/2");
    let all = [
        url,
        ("REDIS_TLS_CA", pem.as_str()),
        ("REDIS_TLS_CERT", pem.as_str()),
        ("REDIS_TLS_KEY", key.as_str()),
        ("REDIS_TLS_SERVER_NAME", "redis.example.test"),
    ];
    let StoreConfig::Redis(config) = with(&all).unwrap().store else { panic!("not redis") };
    assert_eq!((config.host.as_str(), config.port, config.db), ("h", 6380, 2));
    assert!(config.tls.is_some() && config.password.unwrap().expose() == "p@");
    let idle: Vec<_> = all[1..].iter().map(|(name, _)| *name).collect();
    assert_eq!(faulty(&[&[("REDIS_URL", "redis://h")], &all[1..]].concat()), idle, "nobody asks for TLS");
    assert_eq!(faulty(&[url, ("REDIS_TLS_CA", "s3cr3t")]), ["REDIS_TLS_CA"]);
    assert_eq!(faulty(&[url, all[1], ("REDIS_TLS_CERT", pem.as_str())]), ["REDIS_TLS_KEY"]);
    assert_eq!(faulty(&[url, all[1], ("REDIS_TLS_KEY", key.as_str())]), ["REDIS_TLS_CERT"]);
    assert_eq!(faulty(&[url, all[1], ("REDIS_TLS_CERT", "s3cr3t"), all[3]]), ["REDIS_TLS_CERT"]);
    assert_eq!(faulty(&[url, all[1], all[2], ("REDIS_TLS_KEY", other_key.as_str())]), ["REDIS_TLS_KEY"]);
    assert_eq!(faulty(&[url, all[1], ("REDIS_TLS_SERVER_NAME", "not a name")]), ["REDIS_TLS_SERVER_NAME"]);
}

#[test]
fn sentinels_say_where_redis_is_and_nobody_else_does() {
    let all = [
        ("REDIS_SENTINELS", "a:26379, [::1]:26380"),
        ("REDIS_SENTINEL_MASTER", "main"),
        ("REDIS_SENTINEL_USERNAME", "watcher"),
        ("REDIS_SENTINEL_PASSWORD", "w"),
        ("REDIS_PASSWORD", "p"),
        ("REDIS_DB", "2"),
        ("REDIS_MIN_REPLICAS", "1"),
    ];
    let StoreConfig::Redis(config) = with(&all).unwrap().store else { panic!("not redis") };
    let sentinels = config.sentinels.unwrap();
    let places: Vec<_> = sentinels.addresses.iter().map(|it| (it.host.as_str(), it.port)).collect();
    assert_eq!((places, sentinels.master.as_str()), (vec![("a", 26_379), ("::1", 26_380)], "main"));
    assert_eq!((sentinels.username.as_deref(), sentinels.password.unwrap().expose()), (Some("watcher"), "w"));
    assert_eq!((config.password.unwrap().expose(), config.db, config.min_replicas), ("p", 2, 1));
    for wrong in ["a", "a:", "a:0", "a:b", ":1", "a:1,,b:1", "a b:1"] {
        assert_eq!(faulty(&[("REDIS_SENTINELS", wrong), all[1]]), ["REDIS_SENTINELS"], "{wrong}");
    }
    assert_eq!(faulty(&all[..1]), ["REDIS_SENTINEL_MASTER"]);
    assert_eq!(faulty(&[all[0], all[1], all[2]]), ["REDIS_SENTINEL_USERNAME"]);
    let idle: Vec<_> = all[1..4].iter().map(|(name, _)| *name).collect();
    assert_eq!(faulty(&[&[("REDIS_HOST", "h")], &all[1..4]].concat()), idle);
    for place in [("REDIS_URL", "redis://h"), ("REDIS_HOST", "h"), ("REDIS_PORT", "6379")] {
        assert_eq!(faulty(&[all[0], all[1], place]), [place.0], "{place:?}");
    }
    assert_eq!(faulty(&[all[0], all[1], ("REDIS_TLS", "yes")]), ["REDIS_TLS"]);
    assert_eq!(faulty(&[("REDIS_URL", "redis://h"), ("REDIS_MIN_REPLICAS", "-1")]), ["REDIS_MIN_REPLICAS"]);
}
