//! The scripts, each with what they share in front.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($($name:ident $file:literal)*) => {
        $(pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(include_str!("script/shared.lua"), "\n", include_str!(concat!("script/", $file))))
        });)*
    };
}

scripts! {
    ASIDE "aside.lua"
    CLAIM "claim.lua"
    CREATE "create.lua"
    DELETE "delete.lua"
    FIND "find.lua"
    LIST "list.lua"
    MOVE "move.lua"
    OPEN "open.lua"
    READ "read.lua"
    SAVE "save.lua"
    SWEEP "sweep.lua"
}
