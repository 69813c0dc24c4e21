from django.apps import AppConfig


class DocumentsConfig(AppConfig):
    name = "documents"

    def ready(self):
        from documents import notices  # noqa: F401  its receivers listen once it is imported
