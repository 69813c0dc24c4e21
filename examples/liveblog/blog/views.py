from django.views.generic import CreateView

from blog.models import LiveblogPost


class Liveblog(CreateView):
    """The posts, and a form for the next one."""

    model = LiveblogPost
    fields = ["text"]
    success_url = "/"
    template_name = "blog/liveblog.html"

    def get_context_data(self, **kwargs):
        return super().get_context_data(posts=LiveblogPost.objects.all()[:50], **kwargs)
