const messages = document.querySelector("#messages");
const state = document.querySelector("#state");
const form = document.querySelector("form");

// The page of a room and its socket have the same path.
const chat = raceway.connect(location.pathname, {
  status(status) {
    state.textContent = state.dataset.state = status.state;
  },
});

chat.listen(({ name, text }) => {
  const line = document.createElement("li");
  const who = document.createElement("strong");
  who.textContent = name;
  line.append(who, " ", text);
  messages.append(line);
  line.scrollIntoView();
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  chat.send({ name: form.elements.name.value, text: form.elements.text.value });
  form.elements.text.value = "";
});
