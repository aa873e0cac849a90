fn main() {
    use kube::CustomResourceExt;
    for c in [assist_operator::api::AgentAssistConfig::crd(), assist_operator::api::GenesysOrg::crd()] {
        println!("{}", serde_saphyr::to_string(&assist_operator::api::schema::finish(c).unwrap()).unwrap());
        println!("---");
    }
}
