//! Who may take part: names, stores, addresses.

use handfast_common::messages::{Registered, Seen};

use super::*;

fn newcomer(bench: &mut Bench, n: u64) {
    bench.players.insert(name(n), Player { store: store(n), incarnation: 1, sequence: 7 });
}

fn refused(effects: &[Effect]) -> bool {
    matches!(effects, [Effect::ReplyRegistered { answer: Registered::Refused(_), .. }])
}

#[test]
fn t06_nothing_is_prepared_at_a_participant_whose_registration_is_not_on_disk() {
    let mut bench = Bench::alone(Config::default());
    newcomer(&mut bench, 1);
    let dial = Effect::Dial { name: name(1), address: "a:1".into() };
    assert_eq!(register(&mut bench, 1, "a:1"), vec![dial, append(2, registration(1, 7, "a:1"), true)]);
    // Everything else is quicker than the disk.
    assert_eq!(register(&mut bench, 1, "a:1"), vec![]);
    bench.submit(1, &[1]);
    bench.connect(1);
    assert_eq!(bench.welcome(1), vec![]);
    let effects = bench.force();
    assert!(matches!(
        effects[..],
        [
            Effect::ReplyRegistered { answer: Registered::Welcome(_), .. },
            Effect::ReplyRegistered { answer: Registered::Welcome(_), .. },
            Effect::Send { message: ToParticipant { order: Order::CommitOnePhase(_), .. }, .. }
        ]
    ));
}

#[test]
fn t06_another_store_under_a_known_name_is_refused_at_both_doors() {
    let mut bench = Bench::with(1);
    bench.disconnect(1);
    bench.players.get_mut(&name(1)).expect("joined").store = store(99);
    assert!(refused(&register(&mut bench, 1, "b:1")));
    bench.connect(1);
    let effects = bench.welcome(1);
    assert!(matches!(effects[..], [Effect::HangUp { .. }]), "{effects:?}");
    bench.disconnect(1);
    assert_eq!(said(&bench.submit(1, &[1]), 1), Vec::<&Order>::new());
}

#[test]
fn t06_a_store_that_went_back_in_time_is_refused_at_both_doors_also_after_restarts_and_trims() {
    let config = Config { retention_count: 1, ..Config::default() };
    let mut bench = Bench::with_config(2, config);
    bench.players.get_mut(&name(2)).expect("joined").sequence = 50;
    for k in 1..=5 {
        bench.run(k, &[1, 2]);
    }
    // The record that bore the sequence is trimmed.
    bench.players.get_mut(&name(2)).expect("joined").sequence = 49;
    for _ in 0..2 {
        bench.restart(true);
        assert!(refused(&register(&mut bench, 2, "b:2")));
        bench.connect(2);
        let effects = bench.welcome(2);
        assert!(matches!(effects[..], [Effect::HangUp { .. }]), "{effects:?}");
    }
    bench.players.get_mut(&name(2)).expect("joined").sequence = 50;
    bench.connect(2);
    assert_eq!(bench.welcome(2), vec![]);
}

#[test]
fn a_registration_that_newer_answers_have_overtaken_is_no_old_store() {
    let mut bench = Bench::with(1);
    let register = Register { from: bench.identity(1), address: "host:1".into(), seen: None };
    bench.players.get_mut(&name(1)).expect("joined").sequence = 9;
    bench.answer(1, Answer::Received);
    let effects = bench.give(Input::ParticipantRegistered { reply: ReplyTo(5), register });
    assert!(matches!(effects[..], [Effect::ReplyRegistered { answer: Registered::Welcome(_), .. }]));
}

#[test]
fn a_new_address_is_dialled_and_written_in_the_place_of_the_old() {
    let mut bench = Bench::with(1);
    let effects = register(&mut bench, 1, "b:1");
    let write = Effect::Append {
        number: RecordNumber(3),
        record: registration(1, 0, "b:1"),
        erase: vec![RecordNumber(2)],
        force: false,
    };
    let dial = Effect::Dial { name: name(1), address: "b:1".into() };
    assert_eq!(effects[..2], [dial.clone(), write]);
    assert_eq!(bench.restart(true)[0], dial);
}

#[test]
fn an_address_given_by_hand_stands() {
    let mut bench = Bench::alone(Config::default());
    newcomer(&mut bench, 1);
    let dial = Effect::Dial { name: name(1), address: "hand:1".into() };
    assert_eq!(bench.give(Input::AddressGiven { name: name(1), address: "hand:1".into() }), vec![dial]);
    // It has never registered: its own Welcome does, and that is forced first.
    bench.connect(1);
    bench.submit(1, &[1]);
    assert_eq!(bench.welcome(1), vec![append(2, registration(1, 7, "hand:1"), true)]);
    assert_eq!(said(&bench.force(), 1).len(), 1);
    let effects = register(&mut bench, 1, "own:1");
    assert!(matches!(effects[..], [Effect::ReplyRegistered { answer: Registered::Welcome(_), .. }]));
}

#[test]
fn whoever_answers_with_another_name_is_not_talked_to() {
    let mut bench = Bench::with(2);
    bench.disconnect(2);
    bench.connect(2);
    let message = FromParticipant {
        from: bench.identity(1),
        answer: Answer::Welcome(Welcome { seen: Vec::new(), unconfirmed: Vec::new(), complete: true, remembers: true }),
    };
    let why = "dialled 'p2', 'p1' answered: check the address".to_owned();
    assert_eq!(
        bench.give(Input::AnswerReceived { name: name(2), message }),
        vec![Effect::HangUp { name: name(2), why }]
    );
}

#[test]
fn bad_requests_are_refused_before_anything_is_begun() {
    let mut bench = Bench::with(2);
    let mut rejected = |participants: &[u64]| {
        let effects = bench.submit(1, participants);
        let [Effect::Reply { told: Told::Rejected(rejection), .. }] = &effects[..] else { panic!("{effects:?}") };
        rejection.to_string()
    };
    assert_eq!(rejected(&[]), "a transaction without branches");
    assert_eq!(rejected(&[1, 1]), "participant 'p1' is named twice; put its operations together");
    assert_eq!(rejected(&[1, 3]), "participant 'p3' is unknown here; registered: p1, p2");
    let many: Vec<u64> = (1..=65).collect();
    assert_eq!(rejected(&many), "65 branches are over the limit of 64");
    assert_eq!(bench.machine.load(), (0, 0));
    assert_eq!(said(&bench.submit(1, &[1, 2]), 1).len(), 1);
}

#[test]
fn f21_an_idle_coordinator_hears_from_a_registration_that_it_was_replaced() {
    let mut bench = Bench::with(1);
    let (_, epoch, nonce, _) = bench.machine.standing();
    let mut register = |seen| {
        let register = Register { from: bench.identity(1), address: "host:1".into(), seen: Some(seen) };
        bench.give(Input::ParticipantRegistered { reply: ReplyTo(5), register })
    };
    // Its own start, and no more decisions than it has made: nothing new.
    let own = Seen { epoch, nonce, decisions: 0 };
    assert!(matches!(register(own)[..], [Effect::ReplyRegistered { answer: Registered::Welcome(_), .. }]));
    // A start that its line does not know.
    let copy = Seen { epoch: Epoch(epoch.0 + 1), nonce: Nonce(nonce.0 + 1), decisions: 0 };
    assert!(matches!(register(copy)[..], [Effect::Stop { .. }]));
}
