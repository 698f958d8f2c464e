//! Lists, page by page.

use tracer::execution::{ExecutionId, ExecutionManager, ExecutionStore, ListOptions};

/// The ids of what matches and can be read, and of what cannot, each in order: pages of two in both directions, which have
/// to show the same, and none of which is shorter than it may be.
///
/// # Panics
///
/// If the store's pages are not like that.
pub async fn walk<S: ExecutionStore>(
    manager: &ExecutionManager<S>,
    options: ListOptions,
) -> (Vec<ExecutionId>, Vec<ExecutionId>) {
    let forth = one_way(manager, options.clone()).await;
    let (mut readable, mut unreadable) = one_way(manager, options.newest_first()).await;
    readable.reverse();
    unreadable.reverse();
    assert_eq!((readable, unreadable), forth);
    forth
}

async fn one_way<S: ExecutionStore>(
    manager: &ExecutionManager<S>,
    options: ListOptions,
) -> (Vec<ExecutionId>, Vec<ExecutionId>) {
    let (mut options, mut readable, mut unreadable) = (options.limit(2), Vec::new(), Vec::new());
    loop {
        let page = manager.list(options.clone()).await.expect("a list names what cannot be read");
        readable.extend(page.iter().map(|execution| execution.id));
        unreadable.extend(&page.unreadable);
        let Some(next) = page.next else { return (readable, unreadable) };
        assert_eq!(page.len() + page.unreadable.len(), options.page_len());
        let goes_on = |after| if options.newest_first { next < after } else { next > after };
        assert!(options.after.is_none_or(goes_on), "a page ends before it begins");
        options = options.after(next);
    }
}
