//! Executions in DynamoDB: `dynamodb://TABLE?region=…&endpoint=…`, with the credentials that AWS's own programs have.

use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use percent_encoding::percent_decode_str;
use tracer::execution::DynStore;
use tracer_dynamodb::DynamoStore;

use super::{ExecError, Trust, in_time};

pub(super) async fn open(url: &str, trust: &Trust) -> Result<DynStore, ExecError> {
    trust.not_here()?;
    let Address { table, region, endpoint } = Address::of(url)?;
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut config = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(region) = region {
        config = config.region(Region::new(region));
    }
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    // A future of many kilobytes.
    let is_there = in_time(Box::pin(async {
        let client = Client::new(&config.load().await);
        Ok((DynamoStore::is_there(&client, &table).await?, client))
    }));
    let (is_there, client) = is_there.await?;
    if !is_there {
        return Err(ExecError::NoTables("tracer-dynamodb"));
    }
    Ok(DynStore::new(DynamoStore::open(client, &table).await?))
}

#[derive(Debug, PartialEq, Eq)]
struct Address {
    table: String,
    region: Option<String>,
    endpoint: Option<String>,
}

impl Address {
    fn of(url: &str) -> Result<Self, ExecError> {
        let url = url.strip_prefix("dynamodb://").unwrap_or(url);
        let (table, parameters) = url.split_once('?').unwrap_or((url, ""));
        let mut address = Self { table: table.to_owned(), region: None, endpoint: None };
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            match name {
                "region" => address.region = Some(value),
                "endpoint" => address.endpoint = Some(value),
                other => return Err(ExecError::Address(format!("the parameter `{other}`"))),
            }
        }
        if address.table.is_empty() { Err(ExecError::Address("no table".to_owned())) } else { Ok(address) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_table_and_where_it_is() {
        let address = |url: &str| Address::of(url).map_err(|error| error.to_string());
        let (region, endpoint) = (Some("eu-central-1".to_owned()), Some("http://127.0.0.1:8000".to_owned()));
        let table = "jobs".to_owned();
        let whole = "dynamodb://jobs?region=eu-central-1&endpoint=http%3A%2F%2F127.0.0.1:8000";
        assert_eq!(address(whole), Ok(Address { table: table.clone(), region, endpoint }));
        assert_eq!(address("dynamodb://jobs"), Ok(Address { table, region: None, endpoint: None }));
        for (wrong, found) in
            [("dynamodb://?region=a", "no table"), ("dynamodb://jobs?profile=a", "the parameter `profile`")]
        {
            assert!(address(wrong).is_err_and(|text| text.ends_with(&format!("found {found}"))), "{wrong}");
        }
    }
}
