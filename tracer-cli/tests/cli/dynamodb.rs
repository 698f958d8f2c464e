//! `tracer exec` on a DynamoDB, where that was built: `cargo xtask test dynamodb`.

use crate::world::World;

#[cfg(not(feature = "dynamodb"))]
#[test]
fn who_has_not_built_it_is_told_how() {
    let ran = World::new().run("exec ls --store dynamodb://jobs?region=eu-central-1");
    assert_eq!((ran.code, &*ran.out), (2, ""), "{}", ran.text());
    assert!(ran.err.contains("--features dynamodb"), "{}", ran.text());
}

#[cfg(feature = "dynamodb")]
mod built {
    use std::path::Path;

    use aws_config::{BehaviorVersion, Region};
    use aws_sdk_dynamodb::config::Credentials;
    use aws_sdk_dynamodb::{Client, Config};
    use tracer::execution::{ExecutionManager, NewExecution};
    use tracer_dynamodb::DynamoStore;
    use tracer_store_conformance::server::{self, Place, Server};

    use super::World;
    use crate::exec::ready;
    use crate::world::Ran;

    fn start() -> Server {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../stores/dynamodb/server/Cargo.toml");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dynamodb-server");
        Place::new().serve(server::built(&manifest, &target, "tracer-dynamodb-server"), [])
    }

    async fn endpoint(server: &Server) -> String {
        let port = ready(server, async || {
            let port = std::fs::read_to_string(server.path().join("port")).unwrap_or_default();
            port.parse::<u16>()
        });
        format!("http://127.0.0.1:{}", port.await)
    }

    fn client(endpoint: &str) -> Client {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("test", "hidden", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http());
        Client::from_conf(config.endpoint_url(endpoint).build())
    }

    /// With credentials in the environment, and nothing of AWS beside them.
    fn run(world: &World, arguments: &str) -> Ran {
        let mut command = world.command(&format!("exec {arguments}"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.env("HOME", world.path("")).env("AWS_EC2_METADATA_DISABLED", "true");
        let ran = command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "hidden").output();
        let ran = Ran::from(ran.unwrap());
        assert!(!ran.text().contains("hidden"), "{}", ran.text());
        ran
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn executions_in_dynamodb_are_looked_after_too() {
        let server = start();
        let endpoint = endpoint(&server).await;
        let (world, url) = (World::new(), format!("dynamodb://jobs?region=eu-central-1&endpoint={endpoint}"));
        let missing = run(&world, &format!("ls --store {url}"));
        assert!(missing.code == 1 && missing.err.contains("expected the tables of"), "{}", missing.text());
        let tables = client(&endpoint).list_tables().send().await.unwrap();
        assert_eq!(tables.table_names(), [""; 0], "it was not made");

        let store = DynamoStore::open(client(&endpoint), "jobs").await.unwrap();
        let created = ExecutionManager::new(store).create(NewExecution::new("charge").payload(1)).await.unwrap();
        let listed = run(&world, &format!("ls --store {url}"));
        assert!(listed.code == 0 && listed.out.contains("charge"), "{}", listed.text());
        let cancelled = run(&world, &format!("cancel last --yes --json --store {url}")).json();
        assert_eq!(
            (&cancelled[0]["id"], &cancelled[0]["status"]),
            (&format!("{:x}", created.id).into(), &"cancelled".into())
        );
        // What keeps checkpoints is a table, and none of executions.
        let other = run(&world, &format!("ls --store {}", url.replace("jobs", "jobs-checkpoints")));
        assert!(other.code != 0 && other.out.is_empty(), "{}", other.text());
        let tables = client(&endpoint).list_tables().send().await.unwrap();
        assert_eq!(tables.table_names(), ["jobs", "jobs-checkpoints"], "nothing was made beside it");
    }

    #[test]
    fn what_is_wrong_with_an_address_is_told() {
        let world = World::new();
        let check = |url: &str, code: i32, expected: &str| {
            let ran = run(&world, &format!("ls --store {url}"));
            assert_eq!((ran.code, &*ran.out), (code, ""), "{url}: {}", ran.text());
            assert!(ran.err.contains(expected), "{url}: {}", ran.text());
        };
        check("dynamodb://jobs?profile=mine", 2, "found the parameter `profile`");
        check("dynamodb://?region=eu-central-1", 2, "found no table");
        check("dynamodb://jobs?region=eu-central-1 --insecure", 2, "expected no `--insecure` beside `dynamodb://`");
        check("dynamodb://jobs", 3, "is there a region");
        check("dynamodb://jobs?region=eu-central-1&endpoint=http://127.0.0.1:1", 3, "  help: ");
    }
}
