//! Checkpoints: items of a table of their own, so that one more costs the same however many there are.
//!
//! Those of an execution have one partition, whose key the execution names once it has kept any. That key is never used
//! again: what a deletion that was cut off has left is seen by nobody, not even by an execution with the same id.

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{DeleteRequest, Put, TransactWriteItem, WriteRequest};
use tracer::execution::{Command, Parts};

use crate::again::{ATTEMPTS, wait};
use crate::item::{ITEM_LEN_BYTES_MAX, Item, s, text};
use crate::trouble::{Problem, reading, writing};

/// How many items one request deletes: DynamoDB's limit.
const DELETES_MAX: usize = 25;
/// How many are deleted before others get their turn.
const PAGE_LEN: i32 = 500;

/// A checkpoint that is to be kept.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    pub(crate) key: String,
    /// `key:value`, both JSON.
    text: String,
}

impl Checkpoint {
    /// That which a command keeps.
    pub(crate) fn of(command: &Command) -> Option<Self> {
        let Command::Checkpoint { key, .. } = command else { return None };
        let (name, value) = Parts::of_checkpoint(command)?;
        Some(Self { key: key.clone(), text: format!("{name}:{value}") })
    }
}

/// The table of them.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    pub(crate) client: Client,
    pub(crate) table: Arc<str>,
}

impl Checkpoints {
    /// Its name, beside the table of executions.
    pub(crate) fn table_beside(table: &str) -> String {
        format!("{table}-checkpoints")
    }

    /// What a transaction writes so that one is kept.
    pub(crate) fn put(&self, kept: &str, Checkpoint { key, text }: Checkpoint) -> Result<TransactWriteItem, Problem> {
        let found = kept.len() + key.len() + text.len() + 64;
        if found > ITEM_LEN_BYTES_MAX {
            return Err(Problem::checkpoint_too_large(found));
        }
        let put = Put::builder().table_name(&*self.table).item("kept", s(kept)).item("key", s(key));
        let put = put.item("text", s(text)).build().expect("it has a table and an item");
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// The texts of all, `key:value` each.
    pub(crate) async fn read(&self, kept: &str) -> Result<Vec<String>, Problem> {
        let mut texts = Vec::new();
        let mut start = None;
        loop {
            let query = self.client.query().table_name(&*self.table).consistent_read(true);
            let query = query.key_condition_expression("kept = :kept").expression_attribute_values(":kept", s(kept));
            let page = query.set_exclusive_start_key(start).send().await.map_err(reading)?;
            // What has none is none, and cannot be read.
            texts.extend(page.items().iter().map(|item| text(item, "text").unwrap_or("none").to_owned()));
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(texts);
            }
        }
    }

    /// Deletes some of them; whether there may be more.
    pub(crate) async fn delete_some(&self, kept: &str) -> Result<bool, Problem> {
        let query = self.client.query().table_name(&*self.table).consistent_read(true).limit(PAGE_LEN);
        let query = query.key_condition_expression("kept = :kept").expression_attribute_values(":kept", s(kept));
        let query = query.projection_expression("kept, #key").expression_attribute_names("#key", "key");
        let page = query.send().await.map_err(reading)?;
        for keys in page.items().chunks(DELETES_MAX) {
            self.delete(keys).await?;
        }
        Ok(page.last_evaluated_key.is_some())
    }

    async fn delete(&self, keys: &[Item]) -> Result<(), Problem> {
        let delete = |key: &Item| {
            let delete = DeleteRequest::builder().set_key(Some(key.clone())).build().expect("it has a key");
            WriteRequest::builder().delete_request(delete).build()
        };
        let mut left: Vec<WriteRequest> = keys.iter().map(delete).collect();
        for attempt in 1..=ATTEMPTS {
            let request = self.client.batch_write_item().request_items(&*self.table, left);
            let answer = request.send().await.map_err(writing)?;
            left = answer.unprocessed_items.unwrap_or_default().into_values().flatten().collect();
            if left.is_empty() {
                return Ok(());
            }
            wait(&self.client, attempt).await;
        }
        Err(Problem::busy("items were not deleted, again and again"))
    }
}
