mod meddling;
mod queues;
mod world;
