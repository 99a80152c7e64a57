mod meddling;
mod queues;
mod random;
mod world;
