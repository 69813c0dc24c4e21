from raceway.messaging import SynchronousLayer


def serve(layer):
    while True:
        channel, message = layer.receive_many(["http.request"], block=True)
        if channel is None:
            continue
        layer.send(message["reply_channel"], {"content": "Hello World!", "status": 200})


if __name__ == "__main__":
    serve(SynchronousLayer())
