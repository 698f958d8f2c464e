//! What ended long ago, and goes.

use futures_util::future::join_all;
use tracer::execution::{Cursor, Deleted, ExecutionId, Retention, Written};

use super::{Depth, Done, DynamoStore, END, ITEMS_MAX, Query, REQUESTS};
use crate::item::{Read, cursor, instant, place, text};
use crate::table::ALL;
use crate::trouble::Failed;

impl DynamoStore {
    /// Looks at some behind a place, in the order of creation, and deletes those that the retention is over for.
    pub(super) async fn delete_old(
        &self,
        retention: &Retention,
        after: Option<Cursor>,
        limit: u32,
        written: &mut Written,
    ) -> Done<Deleted> {
        let now = self.now();
        let mut deleted = Deleted::default();
        let query = Query {
            index: ALL,
            of: "all",
            from: after.map_or_else(|| "0".to_owned(), |after| format!("{}{END}", place(after))),
            to: instant(retention.created_before(now)),
            limit: (limit as usize).min(ITEMS_MAX),
            newest_first: false,
        };
        // A range of which the end is before the beginning is an error there.
        if query.from > query.to {
            return Ok(deleted);
        }
        let (found, next) = self.query(&query, None).await?;
        deleted.next = next.as_ref().and_then(|next| text(next, ALL.order)).and_then(cursor);
        let ids: Vec<ExecutionId> = found.into_iter().map(|(id, _)| id).collect();
        let mut over: Vec<Read> = Vec::new();
        for (_, read) in self.read(&ids, Depth::ToChange).await? {
            match &read.execution {
                _ if !retention.statuses().iter().any(|status| status.as_str() == read.status) => {}
                Ok(execution) if retention.is_over(execution, now) => over.push(read),
                Ok(_) => {}
                Err(_) => deleted.unreadable += 1,
            }
        }
        for some in over.chunks(REQUESTS) {
            let mut failed = Failed::default();
            for is_deleted in join_all(some.iter().map(|read| self.delete_as_read(read))).await {
                match is_deleted {
                    Ok(true) => {
                        *written = Written::Unknown;
                        deleted.deleted += 1;
                    }
                    // Who was faster has driven it anew, or deleted it; there is no second try.
                    Ok(false) => {}
                    Err(problem) => failed.keep(problem),
                }
            }
            failed.told()?;
        }
        Ok(deleted)
    }
}
