//! From psql to a fake of Stripe that has deletes.

use super::attached;
use crate::localstripe::LocalStripe;
use crate::support::gateway::Gateway;
use crate::support::model::Judge;

#[test]
fn an_attached_table_is_followed() {
    let stripe = LocalStripe::start();
    attached::product_follows(&stripe, &Gateway::start(&[stripe.section(&stripe.url())]));
}
