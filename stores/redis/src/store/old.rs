//! What ended long ago, and goes.

use redis::Value;
use redis::aio::ConnectionLike;
use tracer::execution::{Cursor, Deleted, ListOptions, Retention, Written};

use super::{CALL_LEN_BYTES_MAX, Done, LOOKS_MAX, RedisStore};
use crate::record::{Depth, cursor, hex};
use crate::row::{self, value, values};
use crate::script;
use crate::trouble::Problem;

impl<C: ConnectionLike + Clone + Send + Sync> RedisStore<C> {
    /// Looks at some behind a place, in the order of creation, and deletes those that the retention is over for.
    pub(super) async fn delete_old(
        &self,
        retention: &Retention,
        after: Option<Cursor>,
        limit: u32,
        written: &mut Written,
    ) -> Done<Deleted> {
        let (now, _) = self.read(&[], Depth::Whole).await?;
        let mut options = ListOptions::new().created_before(retention.created_before(now));
        options.after = after;
        let (from, to) = row::range(&options);
        let looks = (limit.max(1) as usize).min(LOOKS_MAX);
        let statuses = retention.statuses().iter().map(|status| status.as_str().to_owned());
        // More are wanted than are looked at, so that the answer says what it has come to.
        let bounds = [looks + 1, looks, CALL_LEN_BYTES_MAX].map(|bound| bound.to_string());
        let (head, ids) = ([String::new(), from, to, String::new()], [String::new(), String::new()]);
        let count = [statuses.len().to_string()];
        let arguments = head.into_iter().chain(bounds).chain(ids).chain(count).chain(statuses);
        let answer = self.call(&script::LIST, arguments).await.map_err(Problem::Read)?;
        let mut answers = values(answer, 1)?.into_iter();
        let come_to: String = value(answers.next().unwrap_or(Value::Nil))?;
        let mut deleted = Deleted { next: cursor(&come_to), ..Deleted::default() };
        for answer in row::placed(answers, Depth::Whole) {
            let (place, Some(read)) = answer? else { continue };
            match read.execution {
                Ok(execution) if retention.is_over(&execution, now) => {
                    let arguments = [hex(place.id()).into_bytes(), read.was.mark];
                    let answer = self.call(&script::DELETE, arguments).await.map_err(Problem::Write)?;
                    *written = Written::Unknown;
                    deleted.deleted += u32::from(value::<i64>(answer)? == 1);
                }
                Ok(_) => {}
                Err(_) => deleted.unreadable += 1,
            }
        }
        Ok(deleted)
    }
}
