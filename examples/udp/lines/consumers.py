from raceway import Group

everybody = Group("lines")


def join(message):
    """A client of whatever kind hears all lines from now on."""
    everybody.add(message.reply_channel)


def leave(message):
    everybody.discard(message.reply_channel)


def udp_join(message):
    join(message)
    message.reply_channel.send({"data": b"welcome"})


def udp_whisper(message, line):
    """Only the sender hears it."""
    message.reply_channel.send({"data": line.upper().encode(errors="surrogateescape")})


def udp_line(message):
    everybody.send({"text": message["data"].decode(errors="replace")})


def ws_line(message):
    everybody.send({"text": message["text"]})
