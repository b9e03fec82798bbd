//! Mass changes: whatever happens to many at once, by accident or on purpose, does little harm before an
//! operator is asked, and none where it only looked so.

mod scene;

mod groups;
mod leavers;
mod operators;
mod reads;
mod seeds;
mod target;
