"""A guest book: counts visits in Redis and keeps notes in PostgreSQL, which it finds by the names `redis` and `postgres`.

An answer means that the data is on the disk; if it cannot be put there, the answer is 503 with the reason.

    GET /           how many visits were counted and how many notes are kept, as JSON
    POST /visits    counts one more visit, and says how many that makes
    POST /notes     keeps the text of the request
    GET /notes      all notes, a line each
"""

import os

import psycopg2
import redis
from flask import Flask, request

app = Flask(__name__)
counter = redis.Redis(host="redis", socket_timeout=5)


def query(statement, *values):
    """The rows that a statement yields, in a transaction and a connection of its own."""
    with psycopg2.connect(host="postgres", user="postgres", connect_timeout=5) as connection:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS notes (text text NOT NULL)")
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []


@app.get("/")
def totals():
    return {"visits": int(counter.get("visits") or 0), "notes": query("SELECT count(*) FROM notes")[0][0]}


@app.post("/visits")
def count():
    return str(counter.incr("visits"))


@app.post("/notes")
def keep():
    query("INSERT INTO notes VALUES (%s)", request.get_data(as_text=True))
    return "kept", 201


@app.get("/notes")
def notes():
    return "".join(f"{text}\n" for (text,) in query("SELECT text FROM notes"))


@app.errorhandler(psycopg2.Error)
@app.errorhandler(redis.RedisError)
def unavailable(error):
    return f"{error}\n", 503


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=int(os.environ.get("PORT", "8000")))
