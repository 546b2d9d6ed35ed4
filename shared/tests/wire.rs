//! The wire format: golden bytes that must never change, caps, hostile input.

use proptest::prelude::*;
use tidegate_shared::pairing::TokenSecret;
use tidegate_shared::wire::*;
use tokio::io::AsyncWriteExt;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Encodes to exactly these bytes, and they decode to the same message.
#[track_caller]
fn check_golden<M: Message + PartialEq + std::fmt::Debug>(message: &M, golden: &str) {
    let frame = encode(message).unwrap();
    assert_eq!(hex(&frame), golden);
    assert_eq!(&decode::<M>(&frame).unwrap(), message);
}

#[test]
fn golden_vectors_of_the_pairing_messages() {
    let request = PairRequest {
        token_id: [1; 16],
        secret: TokenSecret::new([2; 32]),
        csr_der: vec![0x30, 0x00],
        host: "db1".into(),
        agent_version: "0.1.0".into(),
    };
    let frame = encode(&PairAsk::Redeem(request)).unwrap();
    assert_eq!(
        hex(&frame),
        format!(
            "00000041{}00{}{}0230000364623105302e312e30",
            "010001",
            "01".repeat(16),
            "02".repeat(32)
        )
    );
    check_golden(
        &PairAnswer::Paired(Paired {
            agent_name: "office-db".into(),
            workspace: "default".into(),
            chain_der: vec![vec![1], vec![2, 3]],
            relay_ca_der: vec![vec![4]],
            trust_generation: Grown(2),
        }),
        "0000002001000100096f66666963652d64620764656661756c7402010102020301010402",
    );
    check_golden(
        &PairAnswer::Refused {
            code: PairRefusal::NotAccepted,
        },
        "000000050100010100",
    );
    check_golden(
        &PairAnswer::Refused {
            code: PairRefusal::Unavailable,
        },
        "000000050100010103",
    );
}

#[test]
fn golden_vectors_of_the_messages_over_tcp() {
    let ticket = LinkTicket {
        session: 9,
        secret: LinkSecret::new([2; 32]),
    };
    let secret = "02".repeat(32);
    check_golden(&LinkOpening::Control, "0000000401000100");
    check_golden(
        &LinkOpening::Stream(ticket.clone()),
        &format!("000000250100010109{secret}"),
    );
    check_golden(&LinkJoined, "00000003010001");
    check_golden(
        &LinkMessage::Welcome(ticket),
        &format!("000000250100010009{secret}"),
    );
    check_golden(&LinkMessage::Data(vec![7, 8]), "0000000701000101020708");
    check_golden(&LinkMessage::End, "0000000401000102");
    check_golden(&LinkMessage::Taken, "0000000401000103");
    check_golden(&LinkMessage::Reset, "0000000401000104");
    let ping = LinkMessage::Ping {
        nonce: 5,
        rtt_us: 300,
    };
    check_golden(&ping, "000000080100010505fb2c01");
    check_golden(&LinkMessage::Pong { nonce: 5 }, "000000050100010605");
    check_golden(&LinkMessage::Close { code: 2 }, "000000050100010702");
    let secret = LinkSecret::new([2; 32]);
    assert_eq!(format!("{secret:?}"), "LinkSecret(hidden)");
}

#[test]
fn golden_vector_of_the_hello() {
    check_golden(
        &AgentMessage::Hello(Hello {
            protocol_min: 1,
            protocol_max: 1,
            agent_version: "0.1.0".into(),
            host: "db1".into(),
            targets: vec![TargetInfo {
                name: "main".into(),
                database: "shop".into(),
                read_only: true,
            }],
            epoch_counter: 300,
            ddl_targets: Grown(vec!["main".into()]),
            slot_bounds: Grown(vec![9]),
            holding: Grown(Holding {
                held: Held::Writes,
                reason: "no".into(),
                since_ms: 4,
            }),
            passthrough_targets: Grown(vec!["m".into()]),
            forward_targets: Grown(Some(vec!["f".into()])),
            knows: Grown(8),
            instance: Grown(6),
            trust_generation: Grown(2),
        }),
        "0000003601000100010105302e312e300364623101046d61696e0473686f7001fb2c0101046d61696e0109\
         01026e6f0401016d01010166080602",
    );
}

#[test]
fn golden_vectors_of_the_control_messages() {
    check_golden(
        &AgentMessage::Holds(Holding::default()),
        "0000000701000105000000",
    );
    check_golden(&AgentMessage::Ping { nonce: 5 }, "000000050100010105");
    check_golden(&AgentMessage::Pong { nonce: 5 }, "000000050100010205");
    check_golden(
        &AgentMessage::Renew { csr_der: vec![9] },
        "00000006010001040109",
    );
    check_golden(
        &RelayMessage::HelloAck(HelloAck {
            protocol: 1,
            session: 2,
            relay_time_ms: 3,
            relay_version: Grown("0.1".into()),
            knows: Grown(8),
        }),
        "0000000c0100010001020303302e3108",
    );
    check_golden(
        &RelayMessage::Refused {
            code: SessionRefusal::Busy,
            text: "no".into(),
        },
        "000000080100010102026e6f",
    );
    check_golden(
        &RelayMessage::Goodbye(Goodbye {
            delay_ms: 2000,
            reason: "x".into(),
        }),
        "0000000901000104fbd0070178",
    );
    check_golden(
        &RelayMessage::Renewed {
            chain_der: vec![vec![7]],
        },
        "0000000701000105010107",
    );
    check_golden(
        &RelayMessage::RenewRefused {
            code: RenewRefusal::Revoked,
        },
        "000000050100010600",
    );
}

#[test]
fn golden_vectors_of_what_changes_within_a_session() {
    let offer = Offer {
        targets: vec![],
        ddl_targets: vec!["d".into()],
        slot_bounds: vec![9],
        passthrough_targets: vec!["p".into()],
        forward_targets: Some(vec!["f".into()]),
    };
    check_golden(
        &AgentMessage::Offers(offer),
        "000000110100010600010164010901017001010166",
    );
    check_golden(
        &AgentMessage::Trusts { generation: 2 },
        "000000050100010702",
    );
    check_golden(
        &RelayMessage::Trust(Trust {
            generation: 2,
            authorities_der: vec![vec![7]],
            signatures: vec![vec![8]],
        }),
        "0000000b0100010702010107010108",
    );
}

/// As relays sent it before `relay_version` and `knows` were there, and as they may send it once they
/// tell more.
#[test]
fn an_acknowledgement_of_an_older_and_of_a_newer_relay_is_read() {
    let acknowledged = |payload: &[u8]| {
        let mut frame = vec![0, 0, 0, payload.len() as u8 + 3, 1, 0, 1];
        frame.extend_from_slice(payload);
        match decode(&frame).unwrap() {
            RelayMessage::HelloAck(ack) => ack,
            other => panic!("{other:?}"),
        }
    };
    let oldest = acknowledged(&[0, 1, 2, 3]);
    assert_eq!((oldest.protocol, oldest.session), (1, 2));
    assert_eq!(
        (oldest.relay_version, oldest.knows),
        (Grown::default(), Grown(0))
    );
    let older = acknowledged(&[0, 1, 2, 3, 3, b'0', b'.', b'1']);
    assert_eq!(
        (older.relay_version, older.knows),
        (Grown("0.1".into()), Grown(0))
    );
    let newer = acknowledged(&[0, 1, 2, 3, 3, b'0', b'.', b'9', 12, 1, 2, 3, 0xff]);
    assert_eq!(
        (newer.relay_version, newer.knows),
        (Grown("0.9".into()), Grown(12))
    );
}

#[test]
fn a_code_that_only_a_newer_peer_knows_is_read_as_a_refusal() {
    let newer = [0, 0, 0, 5, 1, 0, 1, 1, 99];
    let PairAnswer::Refused { code } = decode(&newer).unwrap() else {
        panic!("no refusal")
    };
    assert_eq!(code, PairRefusal::Unknown(99));
    assert!(code.to_string().contains("update tidegate-agent"), "{code}");
    let newer = [0, 0, 0, 7, 1, 0, 1, 1, 77, 1, b't'];
    let denied = OpenAnswer::Denied {
        code: OpenDenial::Unknown(77),
        text: "t".into(),
    };
    assert_eq!(decode::<OpenAnswer>(&newer).unwrap(), denied);
    let newer = [0, 0, 0, 5, 1, 0, 1, 6, 42];
    let refused = RelayMessage::RenewRefused {
        code: RenewRefusal::Unknown(42),
    };
    assert_eq!(decode::<RelayMessage>(&newer).unwrap(), refused);
}

/// The numbers that peers compare: a kind that is added raises them.
#[test]
fn as_many_kinds_are_known_as_are_told() {
    let frame = |kind: u32| {
        let mut frame = vec![0, 0, 0, 204, 1, 0, 1, kind as u8];
        frame.extend([0; 200]);
        frame
    };
    let known = (0..250).filter(|kind| decode::<AgentMessage>(&frame(*kind)).is_ok());
    assert_eq!(known.count() as u32, AgentMessage::KINDS);
    let known = (0..250).filter(|kind| decode::<RelayMessage>(&frame(*kind)).is_ok());
    assert_eq!(known.count() as u32, RelayMessage::KINDS);
}

/// As agents sent it before `slot_bounds`, and before `ddl_targets`, was there.
#[test]
fn a_hello_of_an_older_agent_is_read_and_allows_nothing_new() {
    let older = [
        0, 0, 0, 0x1f, 1, 0, 1, 0, 1, 1, 5, b'0', b'.', b'1', b'.', b'0', 3, b'd', b'b', b'1', 1,
        4, b'm', b'a', b'i', b'n', 4, b's', b'h', b'o', b'p', 1, 0xfb, 0x2c, 1,
    ];
    let AgentMessage::Hello(hello) = decode(&older).unwrap() else {
        panic!("another message");
    };
    assert_eq!(
        (hello.epoch_counter, hello.ddl_targets, hello.slot_bounds),
        (300, Grown(vec![]), Grown(vec![]))
    );
    let mut newer = older.to_vec();
    newer.extend([1, 1, b'm']);
    newer[3] += 3;
    let AgentMessage::Hello(hello) = decode(&newer).unwrap() else {
        panic!("another message");
    };
    let told = (hello.ddl_targets, hello.slot_bounds);
    assert_eq!(told, (Grown(vec!["m".into()]), Grown(vec![])));
    let latest = (hello.holding, hello.passthrough_targets);
    assert_eq!(latest, (Grown::default(), Grown(vec![])));
    assert_eq!(hello.forward_targets, Grown(None));
    let identity = (hello.knows, hello.instance, hello.trust_generation);
    assert_eq!(identity, (Grown(0), Grown(0), Grown(0)));
    // Half of the new field is no older hello.
    let mut cut = older.to_vec();
    cut.push(1);
    cut[3] += 1;
    assert!(decode::<AgentMessage>(&cut).is_err());
}

#[test]
fn golden_vectors_of_the_open_messages() {
    check_golden(
        &OpenRequest {
            target: "main".into(),
            sync: "blog".into(),
            run: "r1".into(),
            epoch: 7,
            purpose: Purpose::Cancel,
        },
        "00000012010001046d61696e04626c6f670272310702",
    );
    check_golden(&OpenAnswer::Opened, "0000000401000100");
    check_golden(
        &OpenAnswer::Denied {
            code: OpenDenial::StaleEpoch,
            text: "t".into(),
        },
        "0000000701000101020174",
    );
}

#[test]
fn what_a_newer_peer_has_behind_a_message_is_skipped_and_wrong_tags_are_refused() {
    let good = encode(&AgentMessage::Ping { nonce: 5 }).unwrap();
    let mut longer = good.to_vec();
    longer.push(0);
    longer[3] += 1;
    let ping = AgentMessage::Ping { nonce: 5 };
    assert_eq!(decode::<AgentMessage>(&longer).unwrap(), ping);
    // But a frame ends where it says.
    let mut unannounced = good.to_vec();
    unannounced.push(0);
    assert!(decode::<AgentMessage>(&unannounced).is_err());
    let mut codec = good.to_vec();
    codec[4] = 2;
    assert!(matches!(
        decode::<AgentMessage>(&codec),
        Err(WireError::Unknown { codec: 2, .. })
    ));
    let mut schema = good.to_vec();
    schema[6] = 2;
    assert!(matches!(
        decode::<AgentMessage>(&schema),
        Err(WireError::Unknown { schema: 2, .. })
    ));
    assert!(decode::<AgentMessage>(&good[..good.len() - 1]).is_err());
    assert!(decode::<AgentMessage>(&[0, 0, 0, 1, 1, 0, 1]).is_err());
}

#[test]
fn a_message_over_its_cap_is_not_sent() {
    let request = OpenRequest {
        target: "t".repeat(5000),
        sync: String::new(),
        run: String::new(),
        epoch: 0,
        purpose: Purpose::Session,
    };
    assert!(matches!(encode(&request), Err(WireError::TooLarge { .. })));
}

#[test]
fn a_vector_that_claims_terabytes_is_refused_at_once() {
    // Renew { csr_der } whose length claims 2^40 bytes (marker fd: u64 follows, little-endian).
    let frame = [0, 0, 0, 13, 1, 0, 1, 4, 0xfd, 0, 0, 0, 0, 0, 1, 0, 0];
    assert!(matches!(
        decode::<AgentMessage>(&frame),
        Err(WireError::Malformed { .. })
    ));
}

#[tokio::test]
async fn a_frame_over_its_cap_is_refused_before_its_payload_is_read() {
    let (mut near, mut far) = tokio::io::duplex(64);
    let over = (limits::PAIR_ASK_BYTES_MAX + 4) as u32;
    far.write_all(&over.to_be_bytes()).await.unwrap();
    far.write_all(&[1, 0, 1]).await.unwrap();
    // The payload is never written: an answer can only come from the header.
    let result = read_message::<PairAsk, _>(&mut near).await;
    assert!(matches!(result, Err(WireError::TooLarge { .. })));
}

#[tokio::test]
async fn reading_a_message_leaves_the_raw_bytes_behind_it() {
    use tokio::io::AsyncReadExt;
    let (mut near, mut far) = tokio::io::duplex(1024);
    write_message(&mut far, &OpenAnswer::Opened).await.unwrap();
    far.write_all(b"R\0\0\0\x08").await.unwrap();
    drop(far);
    assert_eq!(
        read_message::<OpenAnswer, _>(&mut near).await.unwrap(),
        OpenAnswer::Opened
    );
    let mut rest = Vec::new();
    near.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"R\0\0\0\x08");
}

#[tokio::test]
async fn a_frame_reader_survives_cancellation_and_single_bytes() {
    let (near, mut far) = tokio::io::duplex(1);
    let mut reader = FrameReader::new(near);
    let sender = async {
        for nonce in 0..50 {
            let frame = encode(&AgentMessage::Ping { nonce }).unwrap();
            far.write_all(&frame).await.unwrap();
        }
        drop(far);
    };
    let receiver = async {
        for nonce in 0..50 {
            // Poll once and drop the future again and again: nothing may be lost.
            let message = loop {
                tokio::select! {
                    biased;
                    message = reader.next::<AgentMessage>() => break message.unwrap(),
                    () = tokio::task::yield_now() => {}
                }
            };
            assert_eq!(message, AgentMessage::Ping { nonce });
        }
        assert!(matches!(
            reader.next::<AgentMessage>().await,
            Err(WireError::Closed { .. })
        ));
    };
    tokio::join!(sender, receiver);
}

#[test]
fn versions_are_negotiated_to_the_newest_common_one() {
    assert_eq!(negotiate(1, 1), Some(1));
    assert_eq!(negotiate(1, 9), Some(1));
    assert_eq!(negotiate(2, 9), None);
    assert_eq!(negotiate(0, 0), None);
}

fn decode_all(bytes: &[u8]) {
    let _ = decode::<PairAsk>(bytes);
    let _ = decode::<PairAnswer>(bytes);
    let _ = decode::<AgentMessage>(bytes);
    let _ = decode::<RelayMessage>(bytes);
    let _ = decode::<OpenRequest>(bytes);
    let _ = decode::<OpenAnswer>(bytes);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        decode_all(&bytes);
    }

    #[test]
    fn random_payloads_in_valid_frames_never_panic(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        variant in 0u8..9,
    ) {
        let length = (payload.len() + 4) as u32;
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend_from_slice(&[1, 0, 1, variant]);
        frame.extend_from_slice(&payload);
        decode_all(&frame);
    }

    #[test]
    fn open_requests_survive_the_round_trip(
        target in ".{0,40}", sync in ".{0,40}", run in ".{0,40}", epoch: u64
    ) {
        let request = OpenRequest { target, sync, run, epoch, purpose: Purpose::Replication };
        prop_assert_eq!(&decode::<OpenRequest>(&encode(&request).unwrap()).unwrap(), &request);
    }
}
