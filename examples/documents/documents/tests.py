from django.contrib.auth import get_user_model
from django.test import TestCase
from django.urls import reverse
from raceway import Group, get_channel_layer
from raceway.testing import ChannelLayersMixin, Clock, assert_published, connect

from documents.models import Document

NOBODY = {"joined": {}, "changed": {}, "left": {}}


class DemoTestCase(ChannelLayersMixin, TestCase):
    @classmethod
    def setUpTestData(cls):
        make_user = get_user_model().objects.create_user
        cls.leela = make_user("leela", first_name="Turanga", last_name="Leela")
        cls.fry = make_user("fry", first_name="Philip J.", last_name="Fry")
        cls.document = Document.objects.create(title="Routes", text="Mars", author=cls.leela)


class StatusTests(DemoTestCase):
    def test_who_is_here_and_what_they_do(self):
        leela, fry = str(self.leela.pk), str(self.fry.pk)
        fry_writes = {"name": "Philip J. Fry", "document": "routes", "phase": "write"}
        with Clock() as clock, connect("/status/", user=self.leela) as page:
            page.expect_json({"people": {leela: [{"name": "Turanga Leela"}]}})
            page.expect_json({"diff": {**NOBODY, "joined": {leela: [{"name": "Turanga Leela"}]}}})
            with connect("/status/routes/write/", user=self.fry) as other:
                other.expect_json({"people": {leela: [{"name": "Turanga Leela"}], fry: [fry_writes]}})
                clock.advance(1)
                page.expect_json({"diff": {**NOBODY, "joined": {fry: [fry_writes]}}})
            clock.advance(60)
            page.expect_json({"diff": {**NOBODY, "left": {fry: [fry_writes]}}})

    def test_who_may_have_missed_something_gets_the_list_again(self):
        people = {"people": {str(self.leela.pk): [{"name": "Turanga Leela"}]}}
        with connect("/status/", user=self.leela) as page:
            page.expect_json(people)
            page.receive_json()  # the diff with oneself
            get_channel_layer().tell_gap("the broker was lost")
            page.expect_json(people)

    def test_a_stranger_is_refused(self):
        connect("/status/").expect_refused(403)


class NoticeTests(DemoTestCase):
    def notice(self, action):
        document = {"document": "routes", "title": "Routes", "url": "/documents/routes/"}
        return {"notice": {"action": action, **document}}

    def test_whoever_saves_everybody_is_told(self):
        with assert_published(Group("documents"), self.notice("updated")):
            self.document.save()
        with assert_published(Group("documents"), self.notice("deleted")):
            Document.objects.all().delete()
        with assert_published(Group("documents"), self.notice("created")):
            Document.objects.create(title="Routes", text="Mars", author=self.fry)


class PageTests(DemoTestCase):
    def test_pages_are_behind_the_login(self):
        pages = [reverse(name, args=["routes"]) for name in ("detail", "edit", "delete")]
        for page in [*pages, reverse("list"), reverse("add")]:
            self.assertRedirects(self.client.get(page), f"/accounts/login/?next={page}")
            self.assertRedirects(self.client.post(page), f"/accounts/login/?next={page}")
        self.assertEqual(Document.objects.count(), 1)

    def test_equal_titles_have_addresses_of_their_own_which_stay(self):
        self.client.force_login(self.fry)
        for _ in range(2):
            self.client.post(reverse("add"), {"title": "Routes", "text": "Moon"})
        addresses = {document.get_absolute_url() for document in Document.objects.all()}
        self.assertEqual(len(addresses), 3)
        self.client.post(reverse("edit", args=["routes"]), {"title": "Old routes", "text": "Mars"})
        self.assertContains(self.client.get("/documents/routes/"), "Old routes")
        self.assertEqual({document.author for document in Document.objects.all()}, {self.leela, self.fry})

    def test_what_people_write_is_text(self):
        self.client.force_login(self.fry)
        Document.objects.update(title="<b>bold</b>", abstract="<b>bold</b>", text="<b>bold</b>\n\nnew")
        for page in ("/", "/documents/routes/", "/documents/routes/edit/", "/documents/routes/delete/"):
            self.assertNotContains(self.client.get(page), "<b>bold")
        self.assertContains(self.client.get("/documents/routes/"), "<p>&lt;b&gt;bold&lt;/b&gt;</p>")
