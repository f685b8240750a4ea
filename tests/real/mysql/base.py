"""What Django asks a database backend for."""

import pymysql

pymysql.install_as_MySQLdb()

from django.db.backends.mysql.base import *  # noqa: E402, F403  # it imports MySQLdb
