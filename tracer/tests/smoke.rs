use tracer::__private::*;
use tracer::*;

fn show(records: &[Record]) {
    for r in records { println!("{}", serde_json::to_string(r).unwrap()); }
}
static A: Site = Site::new("handle", module_path!(), file!(), line!());
static B: Site = Site::new("charge", module_path!(), file!(), line!());

fn charge(fail: bool) {
    let f = enter(&B, None, Recorded::none());
    f.end(if fail { Outcome::failed(Failure::default()) } else { Outcome::ok() });
}

#[test]
fn smoke() {
    let f = enter(&A, None, Recorded::none());
    let id = current_trace_id().unwrap();
    charge(false);
    charge(true);
    charge(true);
    charge(false);
    f.end(Outcome::ok());
    show(&replay(id));
    println!("{:?}", stats());
    assert_eq!(active_traces(), []);
    let ctx = create_env(serde_json::json!({"a": 1}), "me");
    let id = ctx.trace_id();
    let ctx = ctx.step("x", Status::Enter, ()).unwrap();
    { let f = enter(&A, Some(&ctx), Recorded::none()); charge(false); f.end(Outcome::ok()); }
    let ctx = ctx.step("x", Status::Error, ()).unwrap();
    show(&replay(id));
    println!("{:?} {:?}", stats(), ctx);
    let e = ctx.step("x", Status::Error, ()).unwrap_err();
    println!("{e}");
}
