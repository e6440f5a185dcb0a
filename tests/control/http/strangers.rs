//! Strangers who hold what the page lets them hold.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::site::Site;
use super::{PATIENCE, wait_until};

#[tokio::test]
async fn connections_that_ask_nothing_keep_nobody_from_the_page() {
    let site = Site::start(&[]).await;
    let mut follower = site.follow().await;
    follower.event().await.unwrap();
    let mut held = Vec::new();
    for number in 0..200 {
        let mut stream = site.connect().await;
        if number % 2 == 0 {
            let head = format!(
                "POST /panel/press HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{",
                site.address
            );
            // One that lost its place already cannot send.
            let _ = stream.write_all(head.as_bytes()).await;
        }
        held.push(stream);
    }
    assert_eq!(site.get("/").await.status, 200);
    // Who follows notices nothing.
    assert_eq!(site.room.events.receiver_count(), 1);
    assert!(
        timeout(PATIENCE, follower.line())
            .await
            .is_ok_and(|line| line.is_some()),
        "the follower was closed"
    );
}

/// Follows the events from another address of loopback; the connection, and what it answered.
async fn follow_from(site: &Site, last: u8) -> (TcpStream, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, last], 0).into()).unwrap();
    let mut stream = socket.connect(site.address).await.unwrap();
    let request = format!("GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", site.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = timeout(PATIENCE, stream.read_exact(&mut answer)).await;
    read.expect("no answer").unwrap();
    (stream, String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn one_address_that_holds_all_streams_gives_one_to_another_address() {
    let site = Site::start(&[]).await;
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(follow_from(&site, 2).await.0);
    }
    assert_eq!(follow_from(&site, 2).await.1, "HTTP/1.1 503");
    let (_other, answer) = follow_from(&site, 3).await;
    assert_eq!(answer, "HTTP/1.1 200");
    wait_until("the end of the oldest stream", || {
        site.room.events.receiver_count() == 16
    })
    .await;
    let mut rest = Vec::new();
    let end = timeout(Duration::from_secs(10), held[0].read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "the oldest one goes on");
}
