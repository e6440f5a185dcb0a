//! One harness for all integration tests, so that the stack is linked once.

mod control;
