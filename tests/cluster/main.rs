//! The operator binary against a real kube-apiserver and etcd, with `kubectl` as the hand that applies, and the sandbox as Genesys.
//! What happened is read from the sandbox's journal and from the API server, never from the operator's claims.

mod control_plane;
mod stage;

mod admission;
mod convergence;
mod deletion;
mod drift;
mod faults;
mod ownership;
mod restart;
