//! The program against the sandbox, which it must find right, and against servers with one fault each, which it must
//! find wrong by the right check. And the OpenAPI document against both.

mod faulty;
mod kit;
mod openapi;
mod proxy;
mod right;
