//! The scripts, each with what they share in front.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($($name:ident $file:literal $flags:literal)*) => {
        $(pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            let (head, shared) = (concat!("#!lua flags=", $flags, "\n"), include_str!("script/shared.lua"));
            Script::new(&[head, shared, "\n", include_str!(concat!("script/", $file))].concat())
        });)*
    };
}

// Without a flag, a server whose memory is full refuses a script whatever it does: then nothing could be worked off, and
// nothing deleted. What brings new executions is refused.
scripts! {
    ASIDE "aside.lua" "allow-oom"
    CLAIM "claim.lua" "allow-oom"
    CREATE "create.lua" ""
    DELETE "delete.lua" "allow-oom"
    FIND "find.lua" "no-writes"
    LIST "list.lua" "no-writes"
    MOVE "move.lua" "allow-oom"
    OPEN "open.lua" "allow-oom"
    READ "read.lua" "no-writes"
    SAVE "save.lua" "allow-oom"
    SWEEP "sweep.lua" "no-writes"
}
