from raceway.errors import DenyConnection
from raceway.messaging import route
from raceway.testing.messaging import (
    ChannelLiveServerTestCase,
    ChannelTestCase,
    Client,
    WSClient,
    apply_routes,
)
from websockets.sync.client import connect

from blog.models import LiveblogPost


class LiveblogTests(ChannelTestCase):
    def test_readers_see_a_new_post(self):
        reader = WSClient()
        reader.send_and_consume("websocket.connect")
        LiveblogPost.objects.create(text="Good news, everyone")
        reader.consume("new-liveblog")
        self.assertEqual(reader.receive(json=False), {"text": "Good news, everyone"})

    def test_who_has_left_sees_nothing(self):
        reader = WSClient()
        reader.send_and_consume("websocket.connect")
        reader.send_and_consume("websocket.disconnect")
        LiveblogPost.objects.create(text="To the moon")
        reader.consume("new-liveblog")
        self.assertIsNone(reader.receive())

    def test_a_saved_post_is_a_message(self):
        post = LiveblogPost.objects.create(text="Good news, everyone")
        message = self.get_next_message("new-liveblog", require=True)
        self.assertEqual(message.content, {"id": str(post.id)})

    def test_the_form_sends_to_whoever_is_in_the_group(self):
        client = Client()
        client.join_group("liveblog")
        self.client.post("/", {"text": "From the form"})
        client.consume("new-liveblog")
        self.assertEqual(client.receive(), {"text": "From the form"})

    def test_with_another_routing(self):
        def only_members(message):
            raise DenyConnection

        stranger = WSClient()
        with apply_routes([route("websocket.connect", only_members)]):
            stranger.send_and_consume("websocket.connect", check_accept=False)
        self.assertEqual(stranger.receive(), {"close": True})


class LiveTests(ChannelLiveServerTestCase):
    def test_a_real_reader(self):
        with connect(f"{self.live_server_ws_url}/", origin=self.live_server_url) as reader:
            LiveblogPost.objects.create(text="Good news, everyone")
            self.assertEqual(reader.recv(timeout=5), "Good news, everyone")
