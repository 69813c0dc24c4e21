from django.contrib.auth.mixins import LoginRequiredMixin
from django.urls import reverse_lazy
from django.views import generic

from documents.forms import DocumentForm
from documents.models import Document


class DocumentMixin(LoginRequiredMixin):
    model = Document


class DocumentList(DocumentMixin, generic.ListView):
    queryset = Document.objects.select_related("author")


class DocumentDetail(DocumentMixin, generic.DetailView):
    pass


class DocumentCreate(DocumentMixin, generic.CreateView):
    form_class = DocumentForm

    def form_valid(self, form):
        form.instance.author = self.request.user
        return super().form_valid(form)


class DocumentUpdate(DocumentMixin, generic.UpdateView):
    form_class = DocumentForm


class DocumentDelete(DocumentMixin, generic.DeleteView):
    success_url = reverse_lazy("list")
