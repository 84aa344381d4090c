//! The phases: one small file each.
//!
//! ```text
//! settled: Invalid | Adopting | Stable | RolledBack
//!                                | a changed template that is held back
//!                                v
//! run:     Preparing -> Stepping -> Promoting -> Finishing -> Stable
//!              |            |           |
//!              +------------+-----------+-> RollingBack -> RolledBack | Stable
//! Deleting may begin in any of them.
//! ```

mod adopting;
mod deleting;
mod direct;
mod ending;
pub(crate) mod failed_set;
mod held;
mod lost;
mod paused;
mod preparing;
mod promoting;
mod rolled_back;
mod run;
mod settled;
mod stable;
mod stepping;
mod template;

pub(crate) use direct::{is_known_good, is_same_but_for_annotations};
pub(crate) use promoting::may_go_back;
pub(crate) use stepping::advance;

use crate::{
    look::{Look, Next},
    state::Run,
};

/// A look may change the phase this often; each change is towards an end, so more is a mistake.
const MAX_CHANGES: usize = 8;

/// Goes through the phases until one waits.
pub(crate) fn look_on(look: &mut Look<'_>) {
    adopting::take_answers(look);
    for _ in 0..MAX_CHANGES {
        let next = if look.world.deleting {
            deleting::look_at(look)
        } else if look.state.run.as_ref().is_some_and(Run::in_progress) {
            run::look_at(look)
        } else {
            settled::look_at(look)
        };
        if next == Next::Wait {
            return;
        }
    }
}
