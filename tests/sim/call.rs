//! A call of the daemon's: while it lasts the world is its own, and what is allocated counts as the
//! simulator's.

use crate::heap::Turn;
use crate::os::{Descriptor, End};
use crate::trace::note;
use crate::world::World;
use core::ops::{Deref, DerefMut};
use std::cell::{RefCell, RefMut};
use std::rc::Rc;

thread_local! {
    /// Where the log of this thread's run goes: [`Sys::log`] has no self.
    pub static LOG: RefCell<Option<Rc<RefCell<World>>>> = const { RefCell::new(None) };
}

pub struct Sim(pub Rc<RefCell<World>>);

/// A descriptor, closed when dropped.
pub struct Fd {
    pub number: usize,
    world: Rc<RefCell<World>>,
}

impl Drop for Fd {
    fn drop(&mut self) {
        let _turn = Turn::simulator();
        // While a failure unwinds, nothing counts any more.
        if let Ok(mut world) = self.world.try_borrow_mut() {
            let name = world.os.trace.wanted.then(|| world.fd_name(self.number));
            note!(world.os, "close", "{}", name.unwrap_or_default());
            match world.os.close(self.number) {
                Ok(end) => world.closed(&end),
                Err(why) => world.model.fail(why),
            }
        }
    }
}

/// The world, while a call of the daemon's lasts.
pub struct Call<'a> {
    world: RefMut<'a, World>,
    _turn: Turn,
}

impl Deref for Call<'_> {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Call<'_> {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Sim {
    /// `world` logs from now on, in this thread.
    pub fn new(world: Rc<RefCell<World>>) -> Sim {
        LOG.with(|log| *log.borrow_mut() = Some(world.clone()));
        Sim(world)
    }

    /// The end of a run.
    pub fn log_no_more() {
        LOG.with(|log| *log.borrow_mut() = None);
    }

    pub fn world(&self) -> Call<'_> {
        let turn = Turn::simulator();
        let mut world = self.0.borrow_mut();
        world.called();
        Call { world, _turn: turn }
    }

    pub fn fd(&self, world: &mut World, end: End, non_blocking: bool) -> Fd {
        let number = world.os.install(Descriptor {
            end,
            non_blocking,
            waits_at_close: false,
            resets: false,
        });
        Fd {
            number,
            world: self.0.clone(),
        }
    }

    pub fn adopt_descriptor(&self, world: &mut World, descriptor: Descriptor) -> Fd {
        Fd {
            number: world.os.install(descriptor),
            world: self.0.clone(),
        }
    }
}
