//! The table: made if there is none, and of which version.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::operation::get_item::GetItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, TableStatus,
};

use crate::again::sleep;
use crate::checkpoints::Checkpoints;
use crate::item::{n, number, s};
use crate::trouble::{Problem, reading, writing};

/// From version 2 on checkpoints have a table of their own.
const VERSION: &str = "2";
const VERSION_BEFORE: &str = "1";

/// An index, the attribute that says what is in it, and the one that says in which order. Items without these are in none.
pub(crate) struct Index {
    pub(crate) name: &'static str,
    pub(crate) of: &'static str,
    pub(crate) order: &'static str,
}

/// What waits, by type.
pub(crate) const DUE: Index = Index { name: "due", of: "due_type", order: "due_at" };
/// What runs and has to be looked at some time.
pub(crate) const SWEEP: Index = Index { name: "sweep", of: "running", order: "sweep_at" };
/// Everything.
pub(crate) const ALL: Index = Index { name: "all", of: "all", order: "place" };
/// What has a parent.
pub(crate) const PARTS: Index = Index { name: "parts", of: "parent", order: "place" };

/// Makes sure that there are tables of this version. Any number of processes may do so at once.
pub(crate) async fn open(client: &Client, table: &str) -> Result<(), Problem> {
    is_there(client, table, executions(client)).await?;
    is_there(client, &Checkpoints::table_beside(table), checkpoints(client)).await?;
    let put = client.put_item().table_name(table).item("pk", s("version")).item("version", n(VERSION));
    let put = put.condition_expression("attribute_not_exists(pk) OR version = :before");
    match put.expression_attribute_values(":before", n(VERSION_BEFORE)).send().await {
        Ok(_) => return Ok(()),
        Err(error) if error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception) => {}
        Err(error) => return Err(writing(error)),
    }
    let get = client.get_item().table_name(table).key("pk", s("version")).consistent_read(true);
    let item = get.send().await.map_err(reading)?.item.unwrap_or_default();
    match number(&item, "version") {
        Some(VERSION) => Ok(()),
        found => {
            let found = found.unwrap_or("none");
            Err(Problem::schema(format!("expected version {VERSION}, found {found}: update this program")))
        }
    }
}

/// Whether there is a table that was opened as one of executions before.
pub(crate) async fn is_ours(client: &Client, table: &str) -> Result<bool, Problem> {
    let get = client.get_item().table_name(table).key("pk", s("version")).consistent_read(true);
    match get.send().await {
        Ok(found) => Ok(found.item.is_some_and(|item| number(&item, "version").is_some())),
        Err(error) if error.as_service_error().is_some_and(GetItemError::is_resource_not_found_exception) => Ok(false),
        Err(error) => Err(reading(error)),
    }
}

/// How often it is looked whether a table that somebody makes or deletes has come or gone: for two minutes.
const LOOKS: u32 = 600;
const APART: Duration = Duration::from_millis(200);

/// Waits until there is such a table, which it makes if need be.
async fn is_there(client: &Client, table: &str, create: CreateTableFluentBuilder) -> Result<(), Problem> {
    let mut last = TableStatus::Creating;
    for _ in 0..LOOKS {
        match client.describe_table().table_name(table).send().await {
            Ok(described) => last = described.table.and_then(|table| table.table_status).unwrap_or(last),
            Err(error) if error.as_service_error().is_some_and(DescribeTableError::is_resource_not_found_exception) => {
                if make(table, create.clone()).await? {
                    continue;
                }
            }
            Err(error) => return Err(reading(error)),
        }
        match last {
            TableStatus::Active | TableStatus::Updating => return Ok(()),
            TableStatus::Creating | TableStatus::Deleting => {}
            other => return Err(Problem::refused(format!("expected `{table}` to be active, found it {other}"))),
        }
        // Nothing tells when it is there.
        sleep(client, APART).await;
    }
    Err(Problem::busy(format!("expected `{table}` to be active within two minutes, found it {last}")))
}

/// Makes it; whether it was not somebody else.
async fn make(table: &str, create: CreateTableFluentBuilder) -> Result<bool, Problem> {
    match create.table_name(table).billing_mode(BillingMode::PayPerRequest).send().await {
        Ok(_) => Ok(true),
        Err(error) if error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception) => Ok(false),
        Err(error) => Err(writing(error)),
    }
}

fn executions(client: &Client) -> CreateTableFluentBuilder {
    let mut create = client.create_table().key_schema(key("pk", KeyType::Hash));
    let mut names = vec!["pk"];
    for index in [DUE, SWEEP, ALL, PARTS] {
        names.extend([index.of, index.order]);
        let keys = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
        let built = GlobalSecondaryIndex::builder()
            .index_name(index.name)
            .key_schema(key(index.of, KeyType::Hash))
            .key_schema(key(index.order, KeyType::Range))
            .projection(keys)
            .build();
        create = create.global_secondary_indexes(built.expect("it has a name and a schema"));
    }
    names.sort_unstable();
    names.dedup();
    names.into_iter().fold(create, |create, name| create.attribute_definitions(definition(name)))
}

fn checkpoints(client: &Client) -> CreateTableFluentBuilder {
    let create = client.create_table().key_schema(key("kept", KeyType::Hash)).key_schema(key("key", KeyType::Range));
    create.attribute_definitions(definition("kept")).attribute_definitions(definition("key"))
}

fn definition(name: &str) -> AttributeDefinition {
    let built = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
    built.expect("it has a name and a type")
}

fn key(name: &str, type_: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(type_).build().expect("it has a name and a type")
}
