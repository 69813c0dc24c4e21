from raceway import Group

from blog.models import LiveblogPost


def connect(message):
    Group("liveblog").add(message.reply_channel)


def disconnect(message):
    Group("liveblog").discard(message.reply_channel)


def newpost(message):
    post = LiveblogPost.objects.get(pk=message.content["id"])
    Group("liveblog").send({"text": post.text})
