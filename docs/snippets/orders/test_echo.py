from orders.functions import echo


def test_it_says_what_it_hears(raceway_connect):
    with raceway_connect(echo) as socket:
        socket.send("hello")
        socket.expect_text("hello")
