"""Django's database backend for MySQL and MariaDB on a driver that needs no compiler: PyMySQL."""
