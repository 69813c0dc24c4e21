const counter = document.querySelector("#users-counter");
const connection = document.querySelector("#connection");

const users = raceway.connect("/status/users/", {
  status({ state, retryInMs }) {
    const wait = state === "waiting" ? `, next try within ${Math.ceil(retryInMs / 1000)} s` : "";
    connection.textContent = `${state}${wait}`;
    connection.parentElement.dataset.state = state;
    counter.dataset.state = state;
  },
});

users.listen((message) => {
  counter.textContent = message.users;
});
