//! What expansions call. Not part of the public interface: no version promises anything here.

pub use crate::flow::{FlowNode, FlowTable};
pub use crate::lines::{OpenFrame, Traced, enter, traced};
pub use crate::outcome::{Failure, Outcome};
pub use crate::site::Site;
pub use crate::values::{Recorded, Values, values};
